# The C side of libpq.py.
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from libc.string cimport memcpy

ctypedef int (*GetCopyData)(void*, char**, int) noexcept
ctypedef void (*FreeMemory)(void*) noexcept
ctypedef int (*ConsumeInput)(void*) noexcept


cdef inline tuple gather(
    size_t connection, size_t get, size_t free, size_t consume, bytearray chunk, Py_ssize_t used,
    Py_ssize_t enough
):
    cdef char* row = NULL
    cdef int length = 1
    cdef bint looked = False
    while used < enough:
        length = (<GetCopyData> get)(<void*> connection, &row, 1)
        if length > 0:
            looked = False
            if used + length > PyByteArray_GET_SIZE(chunk):
                try:
                    PyByteArray_Resize(chunk, (used + length) * 2)
                except:
                    (<FreeMemory> free)(row)
                    raise
            memcpy(PyByteArray_AS_STRING(chunk) + used, row, length)
            used += length
            (<FreeMemory> free)(row)
        elif length == 0 and not looked:
            looked = True
            if (<ConsumeInput> consume)(<void*> connection) == 0:
                break
        else:
            break
    return length, used
