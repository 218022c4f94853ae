cimport cython
from cpython.object cimport PyObject

cdef extern from "Python.h":
    ctypedef struct CMember "PyMemberDef":
        Py_ssize_t offset

    ctypedef struct CMemberDescriptor "PyMemberDescrObject":
        CMember* d_member


cdef inline Py_ssize_t slot_of(object dispatch, object name):
    cdef object descriptor = getattr(type(dispatch), name, None)
    if type(descriptor) is not SLOT:
        return -1
    return (<CMemberDescriptor*> <PyObject*> descriptor).d_member.offset


cdef inline object held_at(object dispatch, object name, Py_ssize_t offset):
    if offset < 0:
        return getattr(dispatch, name)
    cdef PyObject* held = (<PyObject**> (<char*> <PyObject*> dispatch + offset))[0]
    return None if held is NULL else <object> held


cdef object SLOT

cdef dict _collections
cdef dict _slots

cpdef bint is_silent(object listeners)

cpdef bint is_alone(object listeners)

cpdef bint is_logged(object engine)

@cython.locals(found=list, slots=list, offset=Py_ssize_t)
cpdef bint is_heard(object session)
