package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"sextant/internal/points"
)

// asSubmit makes the test binary submit: "POINT:N" is where it kills itself, the N-th time it comes by; "FILE" with a slash is where it notes
// each point it comes by.
const asSubmit = "SEXTANT_TEST_POINT"

// submitWithPoints is submit with a death at a point.
func submitWithPoints() int {
	where := os.Getenv(asSubmit)
	os.Unsetenv(asSubmit) // it is not for what submit starts
	if strings.Contains(where, "/") {
		f, err := os.OpenFile(where, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailed
		}
		points.Hook = func(name string) { fmt.Fprintln(f, name) }
		return command(os.Args)
	}
	at := strings.LastIndexByte(where, ':')
	left, err := strconv.Atoi(where[at+1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s=%q: %v\n", asSubmit, where, err)
		return exitFailed
	}
	points.Hook = func(name string) {
		if name != where[:at] {
			return
		}
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	return command(os.Args)
}
