# The C side of binary_writing.py.
cimport cython
from libc.string cimport memcpy

ctypedef const unsigned char[::1] Bytes
ctypedef unsigned char[::1] Space
ctypedef const int[::1] Offsets
ctypedef int[::1] Ints
ctypedef long long[::1] Places
ctypedef const long long[::1] Longs


cdef inline bint is_there(Bytes bits, Py_ssize_t row) noexcept:
    return bits[row >> 3] >> (row & 7) & 1


cdef inline void put_int16(Space out, Py_ssize_t at, int value) noexcept:
    out[at] = <unsigned char> (value >> 8)
    out[at + 1] = <unsigned char> value


cdef inline void put_int32(Space out, Py_ssize_t at, int value) noexcept:
    out[at] = <unsigned char> (value >> 24)
    out[at + 1] = <unsigned char> (value >> 16)
    out[at + 2] = <unsigned char> (value >> 8)
    out[at + 3] = <unsigned char> value


cdef inline void put_bytes(
    Space out, Py_ssize_t at, Bytes data, Py_ssize_t start, Py_ssize_t length
) noexcept:
    if length > 0:
        memcpy(&out[at], &data[start], length)


cdef inline void put_turned(
    Space out, Py_ssize_t at, Bytes data, Py_ssize_t start, int size
) noexcept:
    cdef int each
    if size == 8:
        out[at] = data[start + 7]
        out[at + 1] = data[start + 6]
        out[at + 2] = data[start + 5]
        out[at + 3] = data[start + 4]
        out[at + 4] = data[start + 3]
        out[at + 5] = data[start + 2]
        out[at + 6] = data[start + 1]
        out[at + 7] = data[start]
    else:
        for each in range(size):
            out[at + each] = data[start + size - 1 - each]


@cython.locals(row=Py_ssize_t)
cpdef object add_fixed(Bytes valid, Py_ssize_t offset, Py_ssize_t rows, int size, Places places)

@cython.locals(row=Py_ssize_t)
cpdef object add_strings(
    Bytes valid, Py_ssize_t offset, Py_ssize_t rows, Offsets offsets, int extra, Places places
)

@cython.locals(row=Py_ssize_t, at="long long", length="long long")
cpdef object begin_rows(Places places, Py_ssize_t rows, int width, Py_ssize_t start, Space out)

@cython.locals(row=Py_ssize_t, total="long long")
cpdef Py_ssize_t total_of(Places places, Py_ssize_t rows)

@cython.locals(row=Py_ssize_t, at="long long")
cpdef object put_fixed(
    Bytes valid, Py_ssize_t offset, Py_ssize_t rows, int size, bint turned, Bytes data, Space out,
    Places places
)

@cython.locals(row=Py_ssize_t, at="long long", length=int)
cpdef object put_strings(
    Bytes valid, Py_ssize_t offset, Py_ssize_t rows, Offsets offsets, int extra, Bytes data,
    Space out, Places places
)

@cython.locals(row=Py_ssize_t, at=Py_ssize_t, value="long long", group=int, groups=int, weight=int, digits=int, last=int, negative=bint, low="long long", limit="long long", scale=int)
cpdef Py_ssize_t digits_of(
    Bytes valid, Py_ssize_t offset, Py_ssize_t rows, Longs words, int width, int places,
    long long unit, Ints offsets, Space out
)
