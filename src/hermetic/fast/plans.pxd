from .listening cimport Ear


cdef class Entity:
    cdef Ear _loading
    cdef public object mapper
    cdef public object class_
    cdef public object manager
    cdef public object identity_class
    cdef public object load_path
    cdef public Py_ssize_t width
    cdef public object many
    cdef public object raw
    cdef public object sql
    cdef public object compiled
    cdef public object construct
    cdef public object table
    cdef public list binds
    cdef public bint named
    cdef public bint as_they_are
    cdef public tuple keys
    cdef public tuple key_at
    cdef public object types
    cdef public list processors

    cpdef bint current(self)
    cpdef bint heard(self)
    cpdef parameters(self, tuple key)
