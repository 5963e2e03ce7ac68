package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Interpreter is what a Program needs to run an interpreter that may lie anywhere.
type Interpreter struct {
	Path    string   // the executable itself, no link and no wrapper script
	Version string   // "3.11.7"
	Read    []string // for Program.Read: its libraries
	Env     []string // for Program.Env
}

// describe prints what the interpreter is and which files it has mapped. It is ours and is run as the user, unconfined.
const describe = `import json, sys, sysconfig
p = sysconfig.get_paths()
maps = []
try:
    maps = sorted({l.split(None, 5)[5].strip() for l in open("/proc/self/maps") if len(l.split(None, 5)) == 6})
except OSError:
    pass
print(json.dumps({"exe": sys.executable, "version": sys.version.split()[0], "maps": [m for m in maps if m.startswith("/")],
    "paths": sorted({p["stdlib"], p["platstdlib"], p["purelib"], p["platlib"]}), "prefix": [sys.prefix, sys.base_prefix]}))`

// Python finds the interpreter of a name, such as "python3", by PATH or by its path: it asks it, because what PATH has may be a wrapper.
func Python(ctx context.Context, name string) (Interpreter, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return Interpreter{}, fmt.Errorf("finding the interpreter %q: %w; install it or name another", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-I", "-c", describe)
	cmd.Dir = "/"
	text, err := cmd.Output()
	var said struct {
		Exe, Version        string
		Maps, Paths, Prefix []string
	}
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	if err == nil && !filepath.IsAbs(said.Exe) {
		err = errors.New("it does not know its own path")
	}
	if err != nil {
		return Interpreter{}, fmt.Errorf("asking the interpreter %q (%s) what it is: %w", name, path, err)
	}
	it := Interpreter{Path: said.Exe, Version: said.Version}
	it.add(said.Exe)
	for _, p := range said.Prefix {
		it.add(filepath.Join(p, "pyvenv.cfg"))
	}
	for _, p := range append(said.Paths, said.Maps...) {
		it.add(p)
	}
	if real, err := filepath.EvalSymlinks(said.Exe); err == nil && !slices.Contains(said.Prefix, filepath.Dir(filepath.Dir(said.Exe))) {
		it.Path = real
	}
	if dirs := os.Getenv("LD_LIBRARY_PATH"); dirs != "" {
		it.Env = append(it.Env, "LD_LIBRARY_PATH="+dirs)
		for _, d := range filepath.SplitList(dirs) {
			it.add(d)
		}
	}
	return it, nil
}

// add lets a path be read, and what it is a link to, unless the system's paths have it.
func (it *Interpreter) add(path string) {
	for range 16 {
		if _, err := os.Lstat(path); err != nil || !filepath.IsAbs(path) {
			return
		}
		covered := slices.ContainsFunc(append(slices.Clone(systemPaths), it.Read...), func(s string) bool {
			return path == s || strings.HasPrefix(path, s+"/")
		})
		if !covered && filepath.Clean(path) != "/" {
			it.Read = append(it.Read, filepath.Clean(path))
		}
		to, err := os.Readlink(path)
		if err != nil {
			return
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
}
