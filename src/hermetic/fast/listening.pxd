cimport cython
from cpython.object cimport PyObject

from .instances cimport values_of
from .kinds cimport kind_of

cdef extern from "Python.h":
    ctypedef struct CSequence "PySequenceMethods":
        Py_ssize_t (*sq_length)(object) except -1

    ctypedef struct CSized "PyTypeObject":
        CSequence* tp_as_sequence

    CSized* Py_TYPE(object) noexcept

    ctypedef struct CMember "PyMemberDef":
        Py_ssize_t offset

    ctypedef struct CMemberDescriptor "PyMemberDescrObject":
        CMember* d_member


# len(), without a search for what it is made of
cdef inline Py_ssize_t size(object listeners) except -1:
    cdef CSequence* methods = Py_TYPE(listeners).tp_as_sequence
    if methods == NULL or methods.sq_length == NULL:
        return len(listeners)
    return methods.sq_length(listeners)


# whether an object's slot holds a value; a slot that was not found holds nothing
cdef inline bint holds(object dispatch, object name, Py_ssize_t offset, object value):
    if offset < 0:
        return False
    return (<PyObject**> (<char*> <PyObject*> dispatch + offset))[0] == <PyObject*> value


cdef inline Py_ssize_t slot_of(object dispatch, object name):
    cdef object descriptor = getattr(type(dispatch), name, None)
    if type(descriptor) is not SLOT:
        return -1
    return (<CMemberDescriptor*> <PyObject*> descriptor).d_member.offset


# what a slot holds; None for one that was never asked for
cdef inline object held_at(object dispatch, object name, Py_ssize_t offset):
    if offset < 0:
        return getattr(dispatch, name)
    cdef PyObject* held = (<PyObject**> (<char*> <PyObject*> dispatch + offset))[0]
    return None if held is NULL else <object> held


cdef object SLOT

cdef dict _slots

@cython.locals(found=tuple, at=Py_ssize_t, slots=list, offset=Py_ssize_t)
cpdef bint is_heard(object session)

cpdef bint is_logged(object engine)


cdef class Event:
    cdef object name, held
    cdef tuple lists
    cdef Py_ssize_t expected, offset

    cdef look(self, object dispatch)


cdef class Ear:
    cdef object _dispatch
    cdef tuple _events

    @cython.locals(at=Py_ssize_t, each=Py_ssize_t, number=Py_ssize_t, event=Event, lists=tuple)
    cpdef bint hears(self)
