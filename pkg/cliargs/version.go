package cliargs

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Version names the program by what it was built from: the module's version and, where it is not told by that, the revision of the source.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(not known)"
	}
	text, changed := info.Main.Version, false
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && !strings.Contains(text, s.Value[:min(len(s.Value), 12)]):
			text += " " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true" && !strings.HasSuffix(text, "+dirty"):
			changed = true
		}
	}
	if changed {
		text += " (changed)"
	}
	return text
}

// VersionText is what --version prints after the program's name: the version, what else there is to say, the compiler and the platform.
func VersionText(further ...string) string {
	return strings.Join(append(append([]string{Version()}, further...), runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH), ", ")
}
