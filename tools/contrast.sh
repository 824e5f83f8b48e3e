#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# contrast.sh PROGRAM OUT [--size tiny|quick|full] [--reps N] [--page FILE]: runs each workload of
# examples/contrast in each dress, N times, and writes into the folder OUT
#
#   raw.csv, summary.csv     each run's figures; their medians, minima and maxima
#   contrast.md              the same as tables, with the machine and the versions
#   contrast-*.svg, .png     plots, if gnuplot is there
#
# With --page the tables replace what stands between the two marks of FILE, and the plots go into the
# folder img beside it. `./dev contrast` calls this. The last line is `N figures, M failed`.
#
# All dresses of a workload run one after another, so that they see the same minutes of a machine that
# is shared; each repetition begins with another dress, so that none is always the one behind.
set -eu
LC_ALL=C
export LC_ALL

usage()
{
    echo "usage: contrast.sh PROGRAM OUT [--size tiny|quick|full] [--reps N] [--page FILE]" >&2
    exit 2
}

[ $# -ge 2 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
program=$1
out=$2
shift 2
size=quick
reps=1
page=
while [ $# -ge 2 ]; do
    case $1 in
    --size) size=$2 ;;
    --reps) reps=$2 ;;
    --page) page=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ $# -eq 0 ] || usage
[ -z "$page" ] || [ -w "$page" ] || { echo "no page $page" >&2; exit 2; }

dresses="callbacks fibers csp actors stealing threads"
mkdir -p "$out"
rm -f "$out"/cdf-*.txt
echo "run,workload,parameter,dress,figure,value,unit,check,note" >"$out/raw.csv"

# ---- runs ----

"$program" --list "$size" >"$out/list.txt" || usage
total=$(awk -v reps="$reps" '{ n += NF - 1 } END { print 6 * n * reps }' "$out/list.txt")
done_runs=0
began=$(date +%s)
shown=

progress() # WORKLOAD PARAMETER DRESS REP
{
    if [ -t 2 ]; then
        printf '\r\033[K[%d/%d] %d s: %s %s, %s, %d of %d' "$done_runs" "$total" \
            $(($(date +%s) - began)) "$1" "$2" "$3" "$4" "$reps" >&2
    elif [ "$shown" != "$1 $4" ]; then # no terminal: a line a workload
        echo "[$done_runs/$total] $(($(date +%s) - began)) s: $1, $4 of $reps" >&2
        shown="$1 $4"
    fi
}

one_run() # WORKLOAD PARAMETER DRESS REP
{
    progress "$1" "$2" "$3" "$4"
    cdf="$out/cdf-$1-$2-$3.txt"
    timeout 300 "$program" "$3" "$1" "$2" --size "$size" --cdf "$cdf" >"$out/run.csv" \
        2>"$out/run.err" || echo "$1,$2,$3,run,-,,FAILED,exit status $?" >>"$out/run.csv"
    sed "s/^/$4,/" "$out/run.csv" >>"$out/raw.csv"
    if grep -q ',FAILED,' "$out/run.csv"; then
        printf '\n%s %s %s failed:\n' "$1" "$2" "$3" >&2
        cat "$out/run.csv" "$out/run.err" >&2
    fi
    done_runs=$((done_runs + 1))
}

rep=1
while [ "$rep" -le "$reps" ]; do
    while read -r workload parameters; do
        for parameter in $parameters; do
            for dress in $dresses; do
                one_run "$workload" "$parameter" "$dress" "$rep" </dev/null
            done
        done
    done <"$out/list.txt"
    dresses="${dresses#* } ${dresses%% *}"
    rep=$((rep + 1))
done
[ ! -t 2 ] || printf '\r\033[K' >&2

# ---- tables ----

cpu_model()
{
    sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
}

# NAME, or what /proc tells of processors that have no name
machine()
{
    model=$(cpu_model)
    memory=$(awk '/^MemTotal:/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
    echo "$(nproc) CPUs (${model:-$(uname -m)}), $memory, Linux $(uname -r | cut -d. -f1,2)"
}

{
    echo "| | |"
    echo "|---|---|"
    echo "| machine | $(machine) |"
    echo "| versions | $("$program" --versions) |"
    echo "| date | $(date +%Y-%m-%d) |"
    echo "| size, runs | $size; $reps, of which each cell shows the median (and the least and the most) |"
    echo
    awk -f "$here/contrast.awk" -v summary="$out/summary.csv" "$out/raw.csv"
} >"$out/contrast.md"

# ---- plots ----

# The runs' histograms added up: for each dress, lines of -log10(share that took longer) and ms.
percentiles() # WORKLOAD-PARAMETER
{
    for dress in callbacks fibers csp actors stealing threads; do
        [ -s "$out/cdf-$1-$dress.txt" ] || continue
        sort -g "$out/cdf-$1-$dress.txt" | awk '
            { total += $2; ms[NR] = $1; n[NR] = $2 }
            END {
                for (i = 1; i <= NR && seen < total; i++) {
                    x = -log((total - seen) / total) / log(10)
                    # what lies closer than a pixel or two is left out
                    if (i == 1 || i == NR || x > last_x + 0.008 || ms[i] > last_ms * 1.04) {
                        printf "%.4f %.4g\n", x, ms[i]
                        last_x = x
                        last_ms = ms[i]
                    }
                    seen += n[i]
                }
            }' >"$out/plot-$1-$dress.txt"
    done
}

# One line a dress of a workload and figure: parameter, median, least, most.
rows() # WORKLOAD FIGURE
{
    for dress in callbacks fibers csp actors stealing threads; do
        awk -F, -v w="$1" -v d="$dress" -v f="$2" \
            '$1 == w && $3 == f && $5 == d && $6 != "-" { print $2, $6, $7, $8, d }' \
            "$out/summary.csv" >"$out/plot-$1-$dress.txt"
    done
}

plot() # NAME: what gnuplot shall do comes on standard input
{
    cat >"$out/$1.gp"
    for terminal in "svg size 900,520 dynamic background 'white' font 'sans-serif,13'" \
        "pngcairo size 900,520 font 'sans,11'"; do
        suffix=${terminal%% *}
        {
            echo "set terminal $terminal"
            echo "set output '$out/$1.${suffix%cairo}'"
            echo "set style line 1 lc rgb '#d62728' lw 2 pt 7; set style line 2 lc rgb '#ff7f0e' lw 2 pt 5"
            echo "set style line 3 lc rgb '#2ca02c' lw 2 pt 9; set style line 4 lc rgb '#9467bd' lw 2 pt 11"
            echo "set style line 5 lc rgb '#1f77b4' lw 3 pt 13; set style line 6 lc rgb '#7f7f7f' lw 2 pt 15"
            echo "set grid; set key outside right"
            cat "$out/$1.gp"
        } | gnuplot 2>"$out/gnuplot.err" || { cat "$out/gnuplot.err" >&2; exit 1; }
    done
}

# 'FILE' using COLUMNS for each dress that has figures
curves() # PREFIX HOW
{
    i=0
    for dress in callbacks fibers csp actors stealing threads; do
        i=$((i + 1))
        [ -s "$out/plot-$1-$dress.txt" ] || continue
        printf "'%s' %s ls %d title '%s', " "$out/plot-$1-$dress.txt" "$2" "$i" "$dress"
    done
}

plots()
{
    for load in half more; do
        percentiles "W3-$load"
        what="half a core"
        [ "$load" = half ] || what="one and a quarter cores"
        curves=$(curves "W3-$load" "using 1:2 with steps")
        [ -n "$curves" ] || continue
        plot "contrast-latency-$load" <<GNUPLOT
set title "W3: latency beside hogs of $what (2,000 requests a second, open loop)"
set xlabel "of all requests"
set ylabel "took at most (ms)"
set xtics ("0%%" 0, "50%%" 0.30103, "90%%" 1, "99%%" 2, "99.9%%" 3)
set logscale y
set format y "%g"
plot $curves
GNUPLOT
    done

    rows W8 items
    plot contrast-stages <<GNUPLOT
set title "W8: throughput over stages of about a microsecond"
set xlabel "stages"
set ylabel "items a second"
set logscale x 2
set logscale y
set format y "%.0s%c"
plot $(curves W8 "using 1:2:3:4 with yerrorlines")
GNUPLOT

    rows W4 memory
    for dress in callbacks fibers csp actors stealing threads; do
        cat "$out/plot-W4-$dress.txt"
    done >"$out/plot-W4.txt"
    plot contrast-memory <<GNUPLOT
set title "W4: memory of an idle task"
set ylabel "bytes a task"
set logscale y
set format y "%g"
set yrange [10:*]
set style fill solid 0.8
set boxwidth 0.6
unset key
plot '$out/plot-W4.txt' using 0:2:xtic(5) with boxes lc rgb '#1f77b4', \
    '' using 0:2:(sprintf("%.0f", \$2)) with labels offset 0,0.7
GNUPLOT
}

have_plots=no
if command -v gnuplot >/dev/null 2>&1; then
    plots
    have_plots=yes
fi

# ---- the page ----

if [ -n "$page" ]; then
    awk -v tables="$out/contrast.md" '
        /^<!-- figures: end -->$/ { inside = 0 }
        !inside
        /^<!-- figures: begin -->$/ {
            inside = 1
            while ((getline line <tables) > 0)
                print line
        }' "$page" >"$out/page.md"
    cat "$out/page.md" >"$page"
    if [ $have_plots = yes ]; then
        mkdir -p "$(dirname "$page")/img"
        cp "$out"/contrast-*.svg "$out"/contrast-*.png "$(dirname "$page")/img"
    fi
fi

figures=$(($(wc -l <"$out/raw.csv") - 1))
failed=$(awk -F, '$8 == "FAILED"' "$out/raw.csv" | wc -l)
echo "$figures figures, $failed failed"
[ "$failed" -eq 0 ]
