package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// config is what the stage is told: in a file in memory, because arguments are everyone's to see.
type config struct {
	Argv, Env, Read []string
	Files           map[string][]byte
	Limits          Limits
	Layers          Layers
	Dir             string // its working directory outside
	UID             int    // the program's user, as seen by the stage; -1: as it is
	Tasks           int    // RLIMIT_NPROC
	Rooted          bool   // the caller is root
	Probe           bool   // try the layers and end, without starting a program
}

// inside is the working directory as the program sees it.
func (c config) inside() string {
	if c.Layers.Has(Namespaces) {
		return "/tmp/work"
	}
	return c.Dir
}

// file puts the configuration into memory.
func (c config) file() (*os.File, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("writing a program's configuration: %w", err)
	}
	fd, err := unix.MemfdCreate("sandbox", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "configuration")
	if _, err := f.WriteAt(text, 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("writing a program's configuration: %w", err)
	}
	return f, nil
}

func readConfig(r io.Reader) (config, error) {
	var c config
	if err := json.NewDecoder(r).Decode(&c); err != nil {
		return c, fmt.Errorf("reading a program's configuration: %w", err)
	}
	return c, nil
}
