# The C side of packets.py.
cimport cython

ctypedef const unsigned char[::1] Bytes
ctypedef int[::1] Ints


@cython.locals(
    rows=Py_ssize_t, column=Py_ssize_t, size=Py_ssize_t, stop=Py_ssize_t, first=int,
    length=Py_ssize_t, place=Py_ssize_t
)
cpdef tuple cut(
    Bytes data, Py_ssize_t at, Py_ssize_t end, Py_ssize_t width, Ints starts, Ints lengths,
    Py_ssize_t room
)
