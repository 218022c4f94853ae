# The C side of libpq.py.
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from libc.string cimport memcpy

ctypedef int (*GetCopyData)(void*, char**, int) noexcept
ctypedef void (*FreeMemory)(void*) noexcept
ctypedef int (*ConsumeInput)(void*) noexcept
ctypedef char* (*GetValue)(void*, int, int) noexcept
ctypedef int (*OfField)(void*, int, int) noexcept


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


# PostgreSQL has the greater bytes first
cdef inline void put_number(char* out, unsigned int number, int size) noexcept:
    cdef int at
    for at in range(size):
        out[at] = <char> ((number >> (8 * (size - 1 - at))) & 0xFF)


cdef inline bytearray as_copied(
    size_t result, size_t value, size_t length, size_t null, int first, int last, int width
):
    cdef void* rows = <void*> result
    cdef Py_ssize_t size = (last - first) * (2 + 4 * <Py_ssize_t> width)
    cdef int row, column, bytes_of
    cdef char* out
    for row in range(first, last):
        for column in range(width):
            size += (<OfField> length)(rows, row, column)
    cdef bytearray found = bytearray()
    PyByteArray_Resize(found, size)
    out = PyByteArray_AS_STRING(found)
    for row in range(first, last):
        put_number(out, <unsigned int> width, 2)
        out += 2
        for column in range(width):
            if (<OfField> null)(rows, row, column):
                put_number(out, 0xFFFFFFFF, 4)
                out += 4
                continue
            bytes_of = (<OfField> length)(rows, row, column)
            put_number(out, <unsigned int> bytes_of, 4)
            out += 4
            memcpy(out, (<GetValue> value)(rows, row, column), bytes_of)
            out += bytes_of
    return found
