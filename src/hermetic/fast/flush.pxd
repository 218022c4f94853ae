cimport cython
from hermetic.fast.kinds cimport kind_of
from hermetic.fast.listening cimport is_heard
from hermetic.fast.write_plan cimport Plan, Statement

cdef class Work:
    cdef public Plan plan
    cdef public object aside
    cdef public list states, inserts, masks, updates, update_masks

cpdef bint is_off(object session)
cpdef object planned(object session)
cdef object _why_not_session(object session)
@cython.locals(work=Work, plan=Plan)
cdef Work _work_of(dict works, object manager)
cdef object _collect(object session, dict works)
@cython.locals(new=list, work=Work, values=dict, known=dict, found=object, mask=object, plan=Plan)
cdef object _collect_new(object session, dict works)
@cython.locals(index=Py_ssize_t, mask=object)
cdef object _new_mask(Plan plan, object state, dict values, dict known)
@cython.locals(work=Work, touched=list)
cdef object _collect_changed(object session, dict works)
@cython.locals(plan=Plan, states=list, kept=list)
cdef object _collect_updates(Work work)
@cython.locals(committed=dict)
cdef object _changed_mask(Plan plan, object state, dict values)
cdef object _write(object session, list works)
@cython.locals(work=Work)
cpdef object undo(object session, object transaction)
cdef object _send(object session, object transaction, list works)
