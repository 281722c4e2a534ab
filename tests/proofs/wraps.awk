# SPDX-License-Identifier: Apache-2.0
# Puts pragmas around the definitions of the functions in `names`, blank-separated: cbmc then does
# not look for unsigned overflow in them. A name that is not found is an error.
BEGIN {
    n = split(names, list, " ")
    for (i = 1; i <= n; i++)
        wanted[list[i]] = 1
}
/^[a-z].*\(/ && !/;/ && match($0, /[a-z_0-9]+\(/) && substr($0, RSTART, RLENGTH - 1) in wanted {
    delete wanted[substr($0, RSTART, RLENGTH - 1)]
    print "#pragma CPROVER check push"
    print "#pragma CPROVER check disable \"unsigned-overflow\""
    inside = 1
}
{ print }
/^}/ && inside {
    print "#pragma CPROVER check pop"
    inside = 0
}
END {
    for (name in wanted)
        exit 1
}
