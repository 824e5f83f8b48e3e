# SPDX-License-Identifier: BSD-2-Clause
#
# contrast.awk -v summary=FILE RAW: from the figures of all runs (contrast.sh) to one line a figure in
# FILE, with median, least and most, and to tables in Markdown on standard output.
BEGIN {
    FS = ","
    dresses = split("callbacks fibers csp actors stealing threads", dress, " ")
    title["W1"] = "the cost of a hop"
    title["W2"] = "TCP echo, by connections"
    title["W3"] = "2,000 requests a second beside hogs of 50 ms"
    title["W4"] = "memory of an idle task"
    title["W5"] = "answers that are 10 ms away, gathered"
    title["W6"] = "N-Queens over cores"
    title["W7"] = "one shared counter, one shared cache"
    title["W8"] = "pipelines, by stages"
    title["W9"] = "twice the load that can be served"
    title["W10"] = "a chat room, by members"
}

FNR == 1 { next }

{
    row = $2 FS $3 FS $5 FS $7
    if (!(row in known)) {
        known[row] = 1
        order[++rows] = row
    }
    cell = row FS $4
    if ($8 == "FAILED")
        bad[cell] = 1
    if ($6 == "-")
        note[cell] = $9
    else
        value[cell, ++count[cell]] = $6 + 0
}

# Sorts the values of a cell, by insertion: they are few.
function sort_cell(cell, i, j, v) {
    for (i = 2; i <= count[cell]; i++) {
        v = value[cell, i]
        for (j = i - 1; j >= 1 && value[cell, j] > v; j--)
            value[cell, j + 1] = value[cell, j]
        value[cell, j + 1] = v
    }
}

function median(cell, n) {
    n = count[cell]
    return (value[cell, int((n + 1) / 2)] + value[cell, int(n / 2) + 1]) / 2
}

# Three figures: 12.3M, 1,230 as 1.23k, 0.0123
function short(v) {
    if (v >= 999500)
        return three(v / 1000000) "M"
    if (v >= 9995)
        return three(v / 1000) "k"
    return three(v)
}

function three(v) {
    if (v >= 99.95)
        return sprintf("%.0f", v)
    if (v >= 9.995)
        return sprintf("%.1f", v)
    return sprintf("%.3g", v)
}

function shown(cell, n) {
    n = count[cell]
    if (cell in bad)
        return "FAILED"
    if (n == 0)
        return cell in note ? "- (" note[cell] ")" : "-"
    if (n == 1)
        return short(value[cell, 1])
    return "**" short(median(cell)) "** (" short(value[cell, 1]) " to " short(value[cell, n]) ")"
}

END {
    print "workload,parameter,figure,unit,dress,median,min,max,runs,check,note" >summary
    for (r = 1; r <= rows; r++) {
        split(order[r], part, FS)
        if (part[1] != last) {
            printf "%s### %s: %s\n\n", r == 1 ? "" : "\n", part[1], title[part[1]]
            printf "| | callbacks | fibers | csp | actors | stealing | threads |\n"
            printf "|---|---|---|---|---|---|---|\n"
            last = part[1]
        }
        printf "| %s: %s, %s |", part[2], part[3], part[4]
        for (d = 1; d <= dresses; d++) {
            cell = order[r] FS dress[d]
            n = count[cell]
            sort_cell(cell)
            printf " %s |", shown(cell)
            print part[1] FS part[2] FS part[3] FS part[4] FS dress[d] FS \
                (n ? median(cell) FS value[cell, 1] FS value[cell, n] : "-,-,-") FS n + 0 FS \
                (cell in bad ? "FAILED" : n ? "ok" : "-") FS note[cell] >summary
        }
        printf "\n"
    }
}
