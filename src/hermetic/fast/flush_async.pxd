cimport cython

from ..registry cimport Scope
from .lane cimport Lane
from .listening cimport is_heard
from .side cimport Side
from .write_plan cimport Statement


cpdef bint may_write(object session, Scope scope, Side side)
