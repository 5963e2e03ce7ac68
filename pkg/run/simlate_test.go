package run

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// lateFile is a file that is there, but not to be seen yet.
type lateFile struct {
	path string
	at   int // step at which it comes to be seen; -1: as soon as the claims were read
}

func (f lateFile) aside() string { return f.path + ".late" }

// hide puts a file where nobody looks.
func (s *simCluster) hide(path string, at int) {
	f := lateFile{path, at}
	if os.Rename(path, f.aside()) == nil {
		s.late = append(s.late, f)
	}
}

// delay makes what a process wrote seen late, its last word excepted.
func (s *simCluster) delay(p *simProc) {
	at := s.now + 1 + s.rng.IntN(40)
	for _, id := range p.job.Shards {
		s.hide(p.dir.Result(id), at)
		s.hide(p.dir.Rows(id, p.n), at)
	}
}

// hideClaims makes the youngest claims unseen until they were read.
func (s *simCluster) hideClaims() {
	if s.faults["lateclaims"] == 0 || len(s.hands) == 0 || s.now >= s.until {
		return
	}
	dir := s.dir(s.hands[0].job)
	claimed, err := dir.Claimed()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.odd("claims: %v", err)
	}
	for _, t := range claimed {
		if s.strikes("lateclaims") {
			path := dir.Claim(t)
			f := lateFile{path, -1}
			_ = os.MkdirAll(filepath.Dir(string(dir)+"/.hidden/x"), 0o777)
			if os.Rename(path, string(dir)+"/.hidden/"+t.String()) == nil {
				s.late = append(s.late, f)
			}
		}
	}
}

// publish makes late files seen whose time has come.
func (s *simCluster) publish(claims bool) {
	var left []lateFile
	for _, f := range s.late {
		switch {
		case f.at < 0 && claims:
			dir := filepath.Dir(filepath.Dir(f.path))
			_ = os.Rename(filepath.Join(dir, ".hidden", filepath.Base(f.path)), f.path)
		case f.at >= 0 && f.at <= s.now:
			if !exists(f.path) {
				_ = os.Rename(f.aside(), f.path)
			}
		default:
			left = append(left, f)
		}
	}
	s.late = left
}
