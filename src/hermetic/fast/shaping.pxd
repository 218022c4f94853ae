# The C side of shaping.py.
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

cdef extern from "Python.h":
    ctypedef struct CType "PyTypeObject":
        object (*tp_new)(CType*, object, PyObject*)
        object (*tp_alloc)(CType*, Py_ssize_t)

    ctypedef struct CMember "PyMemberDef":
        Py_ssize_t offset

    ctypedef struct CMemberDescriptor "PyMemberDescrObject":
        CMember* d_member

    void PyTuple_SET_ITEM(object, Py_ssize_t, object)
    int PyObject_GenericSetAttr(object, object, object) except -1
    int PyGC_Disable() noexcept
    int PyGC_Enable() noexcept


cdef tuple _NOTHING


cdef inline object make(object cls):
    return (<CType*> cls).tp_new(<CType*> cls, _NOTHING, NULL)


cdef inline object new_tuple(object cls, tuple values):
    cdef Py_ssize_t size = len(values), at
    cdef object made = (<CType*> cls).tp_alloc(<CType*> cls, size)
    for at in range(size):
        value = values[at]
        Py_INCREF(value)
        PyTuple_SET_ITEM(made, at, value)
    return made


# a new object's slot is empty: there is nothing to give back
cdef inline int fill(object instance, object descriptor, object value) except -1:
    cdef Py_ssize_t offset = (<CMemberDescriptor*> descriptor).d_member.offset
    Py_INCREF(value)
    (<PyObject**> (<char*> <PyObject*> instance + offset))[0] = <PyObject*> value
    return 0


cdef inline int put(object instance, object name, object value) except -1:
    return PyObject_GenericSetAttr(instance, name, value)


cdef inline bint pause() noexcept:
    return PyGC_Disable()


cdef inline void resume(bint paused) noexcept:
    if paused:
        PyGC_Enable()


cdef class Shaper:
    cdef object cls, kind
    cdef tuple members, order, flags
    cdef Py_ssize_t width
    cdef bint straight

    cpdef list shape(self, list rows)
    cdef tuple arranged(self, tuple row)
    cdef object value(self, tuple row, Py_ssize_t position)
    cdef list _tuples(self, list rows)
    cdef list _slotted(self, list rows)
    cdef list _named(self, list rows)
    cdef list _called(self, list rows)
