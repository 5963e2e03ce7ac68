package spec

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// untold are the keys of a recipe that its default name does not tell.
var untold = []string{"models", "ignore", "calib", "save", "save_path"}

// name is what a combination is called, and what of that stands behind the name of the entry: -KEYVALUE for each axis, or what a list says.
// A recipe without a name of its own is called as its default is, which tells most values. n is the entry with the combination laid over.
func (s *sweeper) name(k sweepable, item, n *node, c combination) (name, suffix string) {
	base := k.id(item)
	ownName := k.list == "quant" && item.str("name") == ""
	switch {
	case ownName:
		base = recipeID(n)
	case k.list == "models" && item.str("abbr") == "" && c.has("path"):
		base = ""
	}
	var parts []string
	for i, a := range c.set.axes {
		if !ownName || slices.Contains(untold, a.path[0]) {
			parts = append(parts, s.part(k, a.path, c.values[i]))
		}
	}
	if c.set.suffix != "" {
		parts = []string{c.set.suffix}
	}
	suffix = strings.Join(parts, "-")
	switch {
	case base == "" || suffix == "":
		return base + suffix, suffix
	default:
		return base + "-" + suffix, "-" + suffix
	}
}

// part is an axis's part of a name: the key's last part and the value. A model's path is its last element alone.
func (s *sweeper) part(k sweepable, path []string, v *node) string {
	last := path[len(path)-1]
	text := valueText(v)
	if strings.HasSuffix(last, "path") {
		if full, err := expand(text); err == nil {
			text = full
		}
		text = lastElement(text)
	}
	if k.list == "models" && len(path) == 1 && last == "path" {
		if called := s.called[v]; called != "" {
			return called
		}
		return short(text)
	}
	if text != "" && (text[0] < '0' || text[0] > '9') {
		text = "_" + short(text)
	} else {
		text = short(text)
	}
	return short(last) + text
}

// valueText writes a value without its brackets and quotes.
func valueText(v *node) string {
	var parts []string
	switch v.kind {
	case table:
		for _, k := range v.keys {
			parts = append(parts, valueText(v.fields[k]))
		}
	case list:
		for _, item := range v.items {
			parts = append(parts, valueText(item))
		}
	default:
		switch x := v.value.(type) {
		case float64:
			return strconv.FormatFloat(x, 'g', -1, 64)
		case time.Time:
			return x.Format(time.DateOnly)
		}
		return fmt.Sprint(v.value)
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ".")
}

// nameless are the characters that names do not have.
var nameless = regexp.MustCompile(`[^A-Za-z0-9._+-]+`)

// short makes of a text at most 24 characters that names may have. What that changes ends in six digits of a digest, so that other texts
// have other names.
func short(text string) string {
	const most, kept = 24, 16
	out := nameless.ReplaceAllString(text, "_")
	if out == text && text != "" && len(text) <= most {
		return text
	}
	digest := sha256.Sum256([]byte(text))
	return strings.TrimLeft(fmt.Sprintf("%s.%x", strings.Trim(out[:min(len(out), kept)], "._-"), digest[:3]), ".")
}
