package shim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// reply is what a command prints and ends with.
type reply struct {
	out, err strings.Builder
	code     int
}

func (r *reply) printf(format string, args ...any) { fmt.Fprintf(&r.out, format, args...) }

// fail says something on standard error, one line, and ends with a code.
func (r *reply) fail(code int, format string, args ...any) *reply {
	fmt.Fprintf(&r.err, format+"\n", args...)
	r.code = code
	return r
}

func failed(code int, format string, args ...any) *reply {
	return new(reply).fail(code, format, args...)
}

func (c *Cluster) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if err := c.serve(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				_ = frame(conn, 'e', err.Error()+"\n") // a client that was killed is not there to read it
			}
		}()
	}
}

func frame(w io.Writer, kind byte, body string) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body))), body...))
	return err
}

func words(r io.Reader) ([]string, error) {
	var n uint32
	if err := binary.Read(r, binary.BigEndian, &n); err != nil {
		return nil, err
	}
	out := make([]string, n)
	for i := range out {
		var size uint32
		if err := binary.Read(r, binary.BigEndian, &size); err != nil {
			return nil, err
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(r, text); err != nil {
			return nil, err
		}
		out[i] = string(text)
	}
	return out, nil
}

// serve answers one command.
func (c *Cluster) serve(conn net.Conn) error {
	all, err := words(conn)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(all[2])
	if err != nil {
		return err
	}
	call := &Call{Command: all[0], Dir: all[1], Args: all[3 : 3+n], Env: all[3+n:], At: time.Now(), Code: -1}
	c.lock.Lock()
	c.calls = append(c.calls, call)
	c.lock.Unlock()
	ask := func() string {
		if frame(conn, 'i', "") != nil {
			return ""
		}
		if text, err := words(conn); err == nil && len(text) == 1 {
			return text[0]
		}
		return ""
	}
	r := c.command(call, ask)
	o := c.options()
	out, text := banner(o.BannerOut, r.out.String()), banner(o.BannerErr, r.err.String())
	c.lock.Lock()
	call.Code, call.Out, call.Err = r.code, out, text
	c.lock.Unlock()
	if err := frame(conn, 'o', out); err != nil {
		return err
	}
	if err := frame(conn, 'e', text); err != nil {
		return err
	}
	return frame(conn, 'x', string([]byte{byte(r.code)}))
}

func banner(text, body string) string {
	if text == "" {
		return body
	}
	return text + "\n" + body + text + "\n"
}

func (c *Cluster) command(call *Call, stdin func() string) *reply {
	o := c.options()
	time.Sleep(o.Slow)
	run, spec := map[string]func(*Call, *parsed) *reply{
		"squeue": c.squeue, "sacct": c.sacct, "scancel": c.scancel, "scontrol": c.scontrol, "sinfo": c.sinfo,
		"sbatch": func(call *Call, p *parsed) *reply { return c.sbatch(call, p, stdin) },
	}[call.Command], specs[call.Command]
	if run == nil {
		return failed(127, "%s: not emulated", call.Command)
	}
	p, bad := getopt(call.Command, spec, o, call.Args)
	if bad != nil {
		return bad
	}
	if p.has("version") {
		name := "slurm-wlm"
		if o.Version != "22.05.8" {
			name = "slurm" // Debian renamed it
		}
		r := new(reply)
		r.printf("%s %s\n", name, o.Version)
		return r
	}
	if p.has("help") {
		return usage(call.Command, spec, o)
	}
	return run(call, p)
}

// What commands say when the controller does not answer.
const (
	refused  = "Unable to contact slurm controller (connect failure)"
	timedOut = "Socket timed out on send/recv operation"
)

// reach waits for the controller as a command does, for so many of Slurm's seconds when it is down, and says why it was not reached: "" when
// it was. What was asked of a frozen one is done when it thaws.
func (c *Cluster) reach(command string, patience int, later func()) string {
	start := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.Errors[command] > 0 {
		c.o.Errors[command]--
		return timedOut
	}
	for {
		waited, limit, why := time.Since(start), c.o.seconds(patience), refused
		if !c.o.Down && !c.o.Frozen {
			return ""
		}
		if c.o.Frozen && !c.o.Down {
			limit, why = c.o.seconds(10), timedOut
		}
		if waited >= limit {
			if why == timedOut && later != nil {
				c.thawed = append(c.thawed, later)
			}
			return why
		}
		c.mu.Unlock()
		time.Sleep(min(limit-waited, 5*time.Millisecond))
		c.mu.Lock()
	}
}
