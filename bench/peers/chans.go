// SPDX-License-Identifier: BSD-2-Clause
//
// The Go twin of kith-bench's channel workloads (bench/chans.c), same shapes, same checks:
//
//	go run bench/peers/chans.go [-procs 1] chan-rendezvous|chan-buffered|select8|select8-buffered [n]
//
// -procs 2 stands beside the workloads that are named -across. Prints the rate.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

func one(n uint64, capacity int) bool {
	c := make(chan uint64, capacity)
	go func() {
		for i := uint64(0); i < n; i++ {
			c <- i
		}
		close(c)
	}()
	expected := uint64(0)
	for v := range c {
		if v != expected {
			return false
		}
		expected++
	}
	return expected == n
}

func eight(n uint64, capacity int) bool {
	var c [8]chan uint64
	for i := range c {
		c[i] = make(chan uint64, capacity)
	}
	go func() {
		for i := uint64(0); i < n; i++ {
			c[i%8] <- i
		}
	}()
	sum, v := uint64(0), uint64(0)
	for got := uint64(0); got < n; got++ {
		select {
		case v = <-c[0]:
		case v = <-c[1]:
		case v = <-c[2]:
		case v = <-c[3]:
		case v = <-c[4]:
		case v = <-c[5]:
		case v = <-c[6]:
		case v = <-c[7]:
		}
		sum += v
	}
	return sum == n*(n-1)/2
}

func main() {
	procs := flag.Int("procs", 1, "threads")
	flag.Parse()
	runtime.GOMAXPROCS(*procs)
	n := uint64(5000000)
	if flag.NArg() > 1 {
		n, _ = strconv.ParseUint(flag.Arg(1), 10, 64)
	}
	began := time.Now()
	ok := false
	switch flag.Arg(0) {
	case "chan-rendezvous":
		ok = one(n, 0)
	case "chan-buffered":
		ok = one(n, 1024)
	case "select8":
		ok = eight(n, 0)
	case "select8-buffered":
		ok = eight(n, 128)
	default:
		flag.Usage()
		os.Exit(2)
	}
	s := time.Since(began).Seconds()
	fmt.Printf("%s: n %d, procs %d: %.3f million operations/s, self-check %v\n", flag.Arg(0), n, *procs,
		float64(n)/s/1e6, ok)
	if !ok {
		os.Exit(1)
	}
}
