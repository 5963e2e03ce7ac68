package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"time"
)

// Program is what to run.
type Program struct {
	Argv  []string          // the command; Argv[0] is an absolute path (see Python)
	Files map[string][]byte // files of its working directory, by path relative to it
	Stdin []byte
	Env   []string // "KEY=value" added to the clean environment
	Read  []string // absolute paths, besides the system's, that it may read and execute: an interpreter's
	Limits
}

// Limits bounds a program. A zero is replaced by the default.
type Limits struct {
	Wall      time.Duration // from the program's start; time that it waited for a processor is added, to at most 1.5 times. 3 s
	CPU       time.Duration // of all its processes together. Wall
	Memory    int64         // bytes of all its processes together. 1 GiB
	Output    int64         // bytes of standard output and error together. 1 MiB
	Disk      int64         // bytes of its files together, and of the longest. 64 MiB
	Files     int           // files and directories. 1,000
	Processes int           // processes and threads together. 32
}

func (l Limits) withDefaults() Limits {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	files, processes := int64(l.Files), int64(l.Processes)
	def((*int64)(&l.Wall), int64(3*time.Second))
	def((*int64)(&l.CPU), int64(l.Wall))
	def(&l.Memory, 1<<30)
	def(&l.Output, 1<<20)
	def(&l.Disk, 64<<20)
	def(&files, 1000)
	def(&processes, 32)
	l.Files, l.Processes = int(files), int(processes)
	return l
}

// Outcome is what became of a program.
type Outcome struct {
	ExitCode  int    // -1 where a signal or the sandbox ended it
	Signal    int    // the signal that ended it; 0: none
	TimedOut  bool   // Wall or CPU was used up
	Truncated bool   // there was more output than Output
	Stdout    []byte // at most Output bytes with Stderr
	Stderr    []byte
	Wall      time.Duration
	CPU       time.Duration // of all its processes
	MaxRSS    int64         // bytes: the most seen of all its processes together, or of one; an interpreter's few MB included
	Layers    Layers        // what confined it
	Why       string        // why the sandbox ended it, as "wall time over 3s"; "": it ended by itself
}

// Box says where and how programs are run. The zero value is ready.
type Box struct {
	Dir        string // working directories are made below it; "": os.TempDir()
	Unconfined bool   // run even where Layers.Confined is false
	without    Layers // left out, for tests
}

// ErrUnconfined marks the refusal to run a program where nothing confines it.
var ErrUnconfined = errors.New("nothing on this node confines a program")

// ErrNoHook marks a binary whose main does not call Main.
var ErrNoHook = errors.New("this binary does not call sandbox.Main first in its main function, so that it cannot confine programs")

// check refuses programs that cannot be set up. It makes no promise about what they do.
func (p Program) check() error {
	if len(p.Argv) == 0 || !filepath.IsAbs(p.Argv[0]) {
		return fmt.Errorf("starting the program %q: its command must be an absolute path", p.Argv)
	}
	for _, s := range append(append([]string{}, p.Argv...), p.Env...) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("starting the program %q: an argument or a variable has a zero byte", p.Argv[0])
		}
	}
	for name := range maps.Keys(p.Files) {
		if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) || filepath.Clean(name) == "." {
			return fmt.Errorf("starting the program %q: the file name %q leaves its working directory", p.Argv[0], name)
		}
	}
	for _, r := range p.Read {
		if c := filepath.Clean(r); !filepath.IsAbs(r) || c == "/" || c == "/proc" || c == "/dev" {
			return fmt.Errorf("starting the program %q: %q is not a path that it may be let read", p.Argv[0], r)
		}
	}
	return nil
}
