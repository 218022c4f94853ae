# The C side of parameter_bytes.py.
cimport cython
from libc.string cimport memcpy

ctypedef const unsigned char[::1] Bytes
ctypedef unsigned char[::1] Space
ctypedef const int[::1] Offsets
ctypedef long long[::1] Places


cdef inline bint is_there(Bytes bits, Py_ssize_t row) noexcept:
    return bits[row >> 3] >> (row & 7) & 1


cdef inline int head_of(Py_ssize_t length) noexcept:
    if length < 251:
        return 1
    if length < 0x10000:
        return 3
    return 4 if length < 0x1000000 else 9


cdef inline int put_head(Space out, Py_ssize_t at, Py_ssize_t length) noexcept:
    cdef int size = head_of(length)
    cdef int each
    if size == 1:
        out[at] = <unsigned char> length
        return 1
    out[at] = 252 if size == 3 else 253 if size == 4 else 254
    for each in range(1, size):
        out[at + each] = <unsigned char> (length >> 8 * (each - 1))
    return size


cdef inline void put_bytes(
    Space out, Py_ssize_t at, Bytes data, Py_ssize_t start, Py_ssize_t length
) noexcept:
    if length > 0:
        memcpy(&out[at], &data[start], length)


@cython.locals(row=Py_ssize_t)
cpdef object add_fixed(Bytes valid, Py_ssize_t offset, Py_ssize_t rows, int size, Places places)

@cython.locals(row=Py_ssize_t, length=Py_ssize_t)
cpdef object add_strings(
    Bytes valid, Py_ssize_t offset, Py_ssize_t rows, Offsets offsets, Places places
)

@cython.locals(row=Py_ssize_t, at=Py_ssize_t)
cpdef object put_absent(
    Bytes valid, Py_ssize_t offset, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t column, Space bits
)

@cython.locals(row=Py_ssize_t, at="long long", length="long long")
cpdef Py_ssize_t begin_rows(Places places, Py_ssize_t rows)

@cython.locals(row=Py_ssize_t)
cpdef object put_fixed(
    Bytes valid, Py_ssize_t offset, Py_ssize_t rows, int size, Bytes data, Space out, Places places
)

@cython.locals(row=Py_ssize_t, at="long long", length=Py_ssize_t)
cpdef object put_strings(
    Bytes valid, Py_ssize_t offset, Py_ssize_t rows, Offsets offsets, Bytes data, Space out,
    Places places
)
