# The C side of binary_rows.py.
cimport cython
from libc.string cimport memcpy

ctypedef const unsigned char[::1] Bytes
ctypedef unsigned char[::1] Space
ctypedef int[::1] Ints
ctypedef long long[::1] Longs


cdef inline int int16_at(Bytes data, Py_ssize_t at) noexcept:
    return <short> ((data[at] << 8) | data[at + 1])


cdef inline int int32_at(Bytes data, Py_ssize_t at) noexcept:
    return <int> (
        (<unsigned int> data[at] << 24) | (<unsigned int> data[at + 1] << 16)
        | (<unsigned int> data[at + 2] << 8) | data[at + 3]
    )


cdef inline long long int64_at(Bytes data, Py_ssize_t at) noexcept:
    return <long long> (
        (<unsigned long long> <unsigned int> int32_at(data, at) << 32)
        | <unsigned int> int32_at(data, at + 4)
    )


cdef inline void put_bytes(
    Space out, Py_ssize_t at, Bytes data, Py_ssize_t start, Py_ssize_t length
) noexcept:
    if length > 0:
        memcpy(&out[at], &data[start], length)


cdef inline void put_int16(Space out, Py_ssize_t at, Bytes data, Py_ssize_t start) noexcept:
    (<short*> &out[at])[0] = <short> int16_at(data, start)


cdef inline void put_int32(Space out, Py_ssize_t at, Bytes data, Py_ssize_t start) noexcept:
    (<int*> &out[at])[0] = int32_at(data, start)


cdef inline void put_int64(Space out, Py_ssize_t at, Bytes data, Py_ssize_t start) noexcept:
    (<long long*> &out[at])[0] = int64_at(data, start)


cdef inline void put_long(Space out, Py_ssize_t at, long long value) noexcept:
    memcpy(&out[at], &value, 8)


@cython.locals(at=Py_ssize_t, rows=Py_ssize_t, column=Py_ssize_t, count=int, length=int, end=Py_ssize_t)
cpdef tuple cut(
    Bytes data, Py_ssize_t at, Py_ssize_t end, Py_ssize_t width, Ints starts, Ints lengths,
    Py_ssize_t room
)

@cython.locals(row=Py_ssize_t, missing=Py_ssize_t)
cpdef Py_ssize_t validity(Ints lengths, Py_ssize_t first, Py_ssize_t rows, Space bits)

@cython.locals(row=Py_ssize_t, length=int)
cpdef Py_ssize_t fixed(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, int size, Space out
)

@cython.locals(row=Py_ssize_t)
cpdef Py_ssize_t same(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, int size, Space out
)

@cython.locals(row=Py_ssize_t)
cpdef Py_ssize_t truths(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, Space out
)

@cython.locals(row=Py_ssize_t, total=Py_ssize_t, length=int)
cpdef Py_ssize_t extent(Ints lengths, Py_ssize_t first, Py_ssize_t rows, int skip)

@cython.locals(row=Py_ssize_t, total=Py_ssize_t, length=int)
cpdef Py_ssize_t strings(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, int skip,
    Ints offsets, Space out
)

@cython.locals(row=Py_ssize_t, value=int)
cpdef Py_ssize_t dates(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, Ints out
)

@cython.locals(row=Py_ssize_t, value="long long")
cpdef Py_ssize_t timestamps(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, Longs out
)

@cython.locals(row=Py_ssize_t, value="long long")
cpdef Py_ssize_t times(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, Longs out
)

@cython.locals(row=Py_ssize_t, start=int, value="long long")
cpdef Py_ssize_t intervals(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, Space out
)

@cython.locals(
    row=Py_ssize_t, start=int, digits=int, weight=int, sign=int, places=int, groups=int, step=int,
    value="long long", word=int, words=int, unit="long long"
)
cpdef Py_ssize_t decimals(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, int scale,
    int size, object limit, Longs out
)

@cython.locals(row=Py_ssize_t, places=int, most=int)
cpdef int most_places(Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows)

cpdef Py_ssize_t first_with(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, int places
)

@cython.locals(row=Py_ssize_t, start=int, dimensions=int, count=int, total=Py_ssize_t)
cpdef Py_ssize_t elements(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows, Ints offsets
)

@cython.locals(row=Py_ssize_t, start=int, count=int, total=Py_ssize_t, length=int)
cpdef object cut_elements(
    Bytes data, Ints starts, Ints lengths, Py_ssize_t first, Py_ssize_t rows,
    Ints inner_starts, Ints inner_lengths
)
