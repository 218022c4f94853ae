"""What may stand before a parenthesis in a statement and leaves nothing on the connection.

A name that is in none of these may be a of the application's own, whose body nobody here
has read. Read from the catalogs of PostgreSQL 15 and MariaDB 10.11.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# words of the language, and types
WORDS = _names(
    """
    against all and any array as asc ascii at bernoulli between bigint binary bit bool boolean
    both by bytea case cast char character check coalesce collate column conflict cross cube
    current_date current_role current_time current_timestamp current_user date datetime dec
    decimal default delete desc distinct do double duplicate else end enum escape except exclude
    exists extract false fetch filter first float for force foreign from full generated greatest
    group grouping groups having identity if ignore ilike in index inner insert int integer
    intersect interval into is join json jsonb key last lateral leading least left like limit
    localtime localtimestamp locked match materialized mediumint merge minus mode money national
    natural nchar next no normalize not nothing nowait null nullif nulls numeric nvarchar of
    offset on only or order ordinality outer over overlaps overlay partition percent position
    preceding precision primary range real recursive references repeatable replace returning right
    rollup row rows select separator session_user set sets share similar skip smallint some
    substring system table tablesample temporary text then ties time timestamp timestamptz timetz
    tinyint to trailing treat trim true truncate union unique update use user using uuid values
    varbinary varbit varchar varying vector view when where window with within without xml year
    """
)

# functions of PostgreSQL, and of the extensions that most databases have
POSTGRESQL = _names(
    """
    abbrev abs acos acosd acosh age any_value array_agg array_append array_cat array_dims
    array_fill array_length array_lower array_ndims array_position array_positions array_prepend
    array_remove array_replace array_to_json array_to_string array_to_tsvector array_upper asin
    asind asinh atan atan2 atan2d atand atanh avg bit_and bit_length bit_or bool_and bool_or
    bpchar btrim cardinality cbrt ceil ceiling center char_length character_length chr
    clock_timestamp col_description concat concat_ws convert convert_from convert_to corr cos cosd
    cosh cot cotd count covar_pop covar_samp crypt cume_dist current_database current_query
    current_schema current_schemas current_setting currval date_bin date_part date_trunc
    datemultirange daterange decode degrees dense_rank digest div encode enum_first enum_last
    enum_range every exp factorial first_value float4 float8 floor format format_type gcd
    gen_random_uuid gen_salt generate_series generate_subscripts get_bit get_byte
    get_current_ts_config getdatabaseencoding has_column_privilege has_database_privilege
    has_schema_privilege has_table_privilege hashtext hashtextextended height host initcap int4
    int4range int8 int8range is_normalized isclosed isempty isfinite json_agg json_array_element
    json_array_element_text json_array_elements json_array_elements_text json_array_length
    json_build_array json_build_object json_each json_each_text json_extract_path
    json_extract_path_text json_object json_object_agg json_object_field json_object_field_text
    json_object_keys json_populate_record json_populate_recordset json_strip_nulls json_to_record
    json_to_recordset json_to_tsvector json_typeof jsonb_agg jsonb_array_element
    jsonb_array_element_text jsonb_array_elements jsonb_array_elements_text jsonb_array_length
    jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_exists
    jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg
    jsonb_object_field jsonb_object_field_text jsonb_object_keys jsonb_path_exists
    jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
    jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first
    jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_recordset
    jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset
    jsonb_to_tsvector jsonb_typeof justify_days justify_hours justify_interval lag last_value
    lastval lcm lead length ln log log10 lower lower_inc lower_inf lpad ltrim make_date
    make_interval make_time make_timestamp make_timestamptz max md5 min min_scale mod multirange
    nextval now nth_value ntile num_nonnulls num_nulls nummultirange numrange obj_description
    octet_length parse_ident percent_rank percentile_cont percentile_disc phraseto_tsquery pi
    plainto_tsquery pow power quote_ident quote_literal quote_nullable radians random range_agg
    range_merge rank regexp_count regexp_instr regexp_like regexp_match regexp_matches
    regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat reverse round
    row_number row_security_active row_to_json rpad rtrim scale setval sha224 sha256 sha384 sha512
    sign similar_escape similar_to_escape similarity sin sind sinh split_part sqrt starts_with
    statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array string_to_table
    strpos substr sum tan tand tanh timeofday timezone to_ascii to_char to_date to_hex to_json
    to_jsonb to_number to_regclass to_regcollation to_regnamespace to_regoper to_regoperator
    to_regproc to_regprocedure to_regrole to_regtype to_timestamp to_tsquery to_tsvector
    transaction_timestamp translate trim_array trim_scale trunc ts_headline ts_rank ts_rank_cd
    tsmultirange tsrange tstzmultirange tstzrange txid_current txid_current_if_assigned
    txid_current_snapshot txid_snapshot_xip txid_snapshot_xmax txid_snapshot_xmin txid_status
    txid_visible_in_snapshot unaccent unnest upper upper_inc upper_inf uuid_generate_v1
    uuid_generate_v4 uuidv4 uuidv7 var_pop var_samp variance version websearch_to_tsquery width
    width_bucket word_similarity xmlagg xmlcomment xmlconcat2 xmlelement xmlexists xmlforest
    xmlvalidate xpath xpath_exists
    """
)

# functions of MariaDB and MySQL
MYSQL = _names(
    """
    _rowid abs acos add_months adddate addtime aes_decrypt aes_encrypt analyse asin atan atan2 avg
    bin binlog_gtid_pos bit_and bit_count bit_length bit_or bit_xor boundary buffer ceil ceiling
    char_length character_length charset chr coercibility collation column_add column_check
    column_create column_delete column_exists column_get column_json column_list compress concat
    concat_ws connection_id contains conv convert convert_tz convexhull cos cot count crc32 crc32c
    crosses cume_dist curdate curtime database date_add date_format date_sub datediff day dayname
    dayofmonth dayofweek dayofyear decode decode_histogram degrees dense_rank des_decrypt
    dimension disjoint div elt encode encrypt envelope equals exp export_set extractvalue field
    find_in_set first_value floor format found_rows from_base64 from_days from_unixtime
    geometrycollection geometryn geometrytype get_format greatest group_concat hex hour ifnull
    inet6_aton inet6_ntoa inet_aton inet_ntoa instr intersects is_free_lock is_ipv4 is_ipv4_compat
    is_ipv4_mapped is_ipv6 is_used_lock isclosed isempty isnull isring issimple json_array
    json_array_append json_array_insert json_arrayagg json_compact json_contains
    json_contains_path json_depth json_detailed json_equals json_exists json_extract json_insert
    json_keys json_length json_loose json_merge json_merge_patch json_merge_preserve
    json_normalize json_object json_objectagg json_overlaps json_pretty json_query json_quote
    json_remove json_replace json_schema_valid json_search json_set json_table json_type
    json_unquote json_valid json_value lag last_day last_insert_id last_value lastval lcase lead
    least length lengthb linestring ln locate log log10 log2 lower lpad ltrim make_set makedate
    maketime master_gtid_wait master_pos_wait max md5 median microsecond mid min minute mod month
    monthname multilinestring multipoint multipolygon name_const natural_sort_key nextval now
    nth_value ntile numgeometries nvl nvl2 oct octet_length old_password ord password percent_rank
    percentile_cont percentile_disc period_add period_diff pi point pointonsurface polygon pow
    power quarter quote radians rand random_bytes rank regexp regexp_instr regexp_replace
    regexp_substr release_all_locks release_lock repeat reverse round row_count row_number rownum
    rpad rtrim schema schemas sec_to_time second setval sformat sha sha1 sha2 sign sin sleep
    soundex space sqrt srid st_boundary st_buffer st_contains st_convexhull st_crosses
    st_difference st_dimension st_disjoint st_distance st_distance_sphere st_envelope st_equals
    st_geometryn st_geometrytype st_intersection st_intersects st_isclosed st_isempty st_isring
    st_issimple st_length st_numgeometries st_overlaps st_pointonsurface st_relate st_srid
    st_symdifference st_touches st_union st_within std stddev stddev_pop stddev_samp str_to_date
    strcmp subdate substr substring_index subtime sum sys_guid sysdate system_user tan time_format
    time_to_sec timediff timestampadd timestampdiff to_base64 to_char to_days to_seconds touches
    ucase uncompress uncompressed_length unhex unix_timestamp updatexml upper utc_date utc_time
    utc_timestamp uuid_short value var_pop var_samp variance version week weekday weekofyear
    weight_string wsrep_last_seen_gtid wsrep_last_written_gtid wsrep_sync_wait_upto_gtid yearweek
    """
)
