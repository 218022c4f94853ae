cdef class Statement:
    cdef public object construct, compiled, aside, sql, key_prop
    cdef public bint insert, many, positional, processes
    cdef public int prefetch, key
    cdef public tuple names, props, sources, processors, prefetch_props, prefetch_kinds
    cdef public tuple prefetch_args, expire, returned
    cdef public list result_processors, returned_columns
    cdef public object batches, batch_sql
    cdef public Py_ssize_t batch_size
    cdef public tuple array_kinds, array_limits
    cpdef list processors_of(self, object dialect, object described)
    cpdef take(self, dict values, object row, list processors)

cdef class Plan:
    cdef public object _dialect, aside, shape, mapper, manager, identity_class, order, sort_key
    cdef public object pk_bits, defaulted, made, referred, statements
    cdef public dict _last, by_prop
    cdef public tuple as_none, columns, equal, none_counts, own_relations, pk_props, props
    cdef public tuple related, relations
    cdef public bint fetches, has_collections, orphans
    cpdef Statement insert(self, object dialect, object mask, bint many)
    cpdef Statement update(self, object dialect, object mask, bint many)
    cpdef Statement statement(self, object dialect, int kind, object mask)
