package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// maxName leaves room for a temporary file's decoration within the 255 bytes that file systems allow.
const maxName = 180

// FileSafe makes a name that every file system and shell takes as it is. A name that had to be changed carries a hash of what it was, so
// that different names stay different.
func FileSafe(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r < 128 && (r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return r
		}
		return '_'
	}, name)
	if strings.HasPrefix(safe, ".") || strings.HasPrefix(safe, "-") {
		safe = "_" + safe
	}
	if safe == name && len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return safe[:min(len(safe), maxName-9)] + "." + hex.EncodeToString(sum[:4])
}

// names are those given out. Case is ignored, for file systems that do.
type names map[string]bool

// unique makes a file-safe name that was not given out before.
func (n names) unique(name string) string {
	name = FileSafe(name)
	free := name
	for i := 2; n[strings.ToLower(free)]; i++ {
		free = name + "." + strconv.Itoa(i)
	}
	n[strings.ToLower(free)] = true
	return free
}
