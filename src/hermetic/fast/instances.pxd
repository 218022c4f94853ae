# The C side of instances.py: what it calls of CPython, and the C types of its classes.
cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

cdef extern from "Python.h":
    ctypedef struct CType "PyTypeObject":
        object (*tp_new)(CType*, object, PyObject*)

    ctypedef struct CMember "PyMemberDef":
        Py_ssize_t offset

    ctypedef struct CMemberDescriptor "PyMemberDescrObject":
        CMember* d_member

    const int PY_VERSION_HEX
    object PyWeakref_NewRef(object referent, object callback)
    object PyMethod_New(object function, object bound)
    object PyObject_GenericGetDict(object owner, void* context)
    int PyObject_GenericSetDict(object owner, object values, void* context) except -1
    PyObject* PyDict_SetDefault(object mapping, object key, object value) except NULL
    int PyDict_SetItem(object mapping, object key, object value) except -1
    Py_ssize_t PyLong_AsSsize_t(object) except? -1
    int PyObject_IS_GC(object) noexcept
    void PyObject_GC_UnTrack(PyObject*) noexcept
    int PyGC_Disable() noexcept
    int PyGC_Enable() noexcept


cdef object _Map
cdef tuple _NOTHING
cdef Py_ssize_t _CLASS, _MANAGER, _OBJ, _COMMITTED, _EXPIRED


@cython.locals(known=dict)
cpdef forget(object state, object reference)


cdef inline Py_ssize_t offset_of(object descriptor):
    return (<CMemberDescriptor*> descriptor).d_member.offset


# as cls.__new__(cls), without the search for __new__
cdef inline object make(object cls):
    return (<CType*> cls).tp_new(<CType*> cls, _NOTHING, NULL)


cdef inline bint claims(dict identities, tuple key, object state) except -1:
    return PyDict_SetDefault(identities, key, state) == <PyObject*> state


# a new state's slot is empty: there is nothing to give back
cdef inline void fill(object state, Py_ssize_t offset, object value) noexcept:
    Py_INCREF(value)
    (<PyObject**> (<char*> <PyObject*> state + offset))[0] = <PyObject*> value


# as InstanceState.__init__
cdef inline int furnish(
    object state, object instance, object cls, object manager, object cleanup
) except -1:
    fill(state, _CLASS, cls)
    fill(state, _MANAGER, manager)
    fill(state, _OBJ, PyWeakref_NewRef(instance, PyMethod_New(cleanup, state)))
    fill(state, _COMMITTED, {})
    fill(state, _EXPIRED, strings_only(set()))
    return 0


# A set of attribute names, and a tuple of numbers and strings, are in no reference cycle: the
# garbage collector need not look at them. It finds that out about tuples by itself.
cdef inline set strings_only(set names):
    PyObject_GC_UnTrack(<PyObject*> names)
    return names


cdef inline tuple single(object value):
    cdef tuple primary = (value,)
    if not PyObject_IS_GC(value):
        PyObject_GC_UnTrack(<PyObject*> primary)
    return primary


cdef inline object cell(tuple row, tuple columns, Py_ssize_t position):
    return row[PyLong_AsSsize_t(columns[position])]


cdef inline dict values_of(object instance):
    return PyObject_GenericGetDict(instance, NULL)


cdef inline bint lacks(dict values, tuple keys) except -1:
    for key in keys:
        if key not in values:
            return True
    return False


# What has its values inside itself, from CPython 3.13 on, would go on to be asked for those.
cdef inline int set_values(object instance, dict values) except -1:
    if PY_VERSION_HEX < 0x030D0000:
        return PyObject_GenericSetDict(instance, values, NULL)
    instance.__dict__ = values
    return 0


cdef inline object weak(object referent, object told):
    return PyWeakref_NewRef(referent, told)


cdef inline bint pause() noexcept:
    return PyGC_Disable()


cdef inline void resume(bint paused) noexcept:
    if paused:
        PyGC_Enable()


cdef class EntityLoader:
    cdef object cls, manager, identity_class, token, session_id, runid, options, path, reference
    cdef object fallback, identity_map, processed
    cdef dict identities, late
    cdef tuple keys, columns, expired, populators, primary, flags
    cdef Py_ssize_t width, first
    cdef bint paused, composed
    # whether an instance that is there and lacks nothing is what a row stands for
    cdef public bint keeps

    cpdef list load(self, list rows)
    cdef object there(self, tuple key)
    cdef int load_some(self, list rows, Py_ssize_t start, Py_ssize_t stop, list found) except -1
    @cython.locals(values=dict)
    cdef object one(self, tuple row)
    cdef tuple identity(self, tuple row)
    cdef int populate(self, object state, dict values, tuple row) except -1
    cdef int call_populators(self, object state, dict values, tuple row) except -1
    cdef object aside(self, tuple row)


cdef class RowLoader:
    cdef list makers
    cdef bint paused

    cpdef list load(self, list rows)
    cdef tuple one(self, tuple row)
    cdef object entity(self, EntityLoader loader, tuple row)
    cdef object call(self, object function, tuple row)
