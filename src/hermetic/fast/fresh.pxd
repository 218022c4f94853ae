cimport cython

from ..registry cimport Scope
from .instances cimport make, set_values, values_of, weak
from .side cimport Side

cdef object _IdentityMap
cdef dict _listed


cpdef remember_session(Side side, object session)

@cython.locals(values=dict, inside=dict)
cpdef new_session(Side side, Scope scope)

cpdef keep_listed(object session)
