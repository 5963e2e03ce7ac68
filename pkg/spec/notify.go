package spec

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// Notify is who is told over HTTP how a run goes; the zero Notify: nobody.
type Notify struct {
	Kind string `toml:"kind" spec:"oneof=lark|slack|json" json:"kind,omitempty"` // what takes the messages
	// URL and Secret stand here as they are written: ${VAR} is expanded when something is told (Address), so that no plan has a secret in it.
	URL    string   `toml:"url" json:"url,omitempty"`
	Secret string   `toml:"secret" json:"secret,omitempty"`                                 // lark: what signs messages
	On     []string `toml:"on" spec:"nonempty,oneof=start|end|failure" json:"on,omitempty"` // what is told, default all
}

// Address is the webhook's address and its secret, from the environment. An error names what is not set, and shows neither.
func (n *Notify) Address() (address, secret string, err error) {
	lookup := func(name string) (string, error) {
		if val := os.Getenv(name); val != "" {
			return val, nil
		}
		return "", fmt.Errorf("environment variable %s is not set", name)
	}
	if address, err = substitute(n.URL, lookup); err != nil {
		return "", "", fmt.Errorf("notify.url: %w", err)
	}
	if secret, err = substitute(n.Secret, lookup); err != nil {
		return "", "", fmt.Errorf("notify.secret: %w", err)
	}
	return address, secret, nil
}

var oneVariable = regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`)

// notify checks [notify].
func (c *checker) notify(root *node, s *Notify) {
	n := root.get("notify")
	if n == nil || n.kind != table {
		return
	}
	c.required(n, "notify", []string{"kind"}, `write "lark", "slack" or "json"`)
	c.required(n, "notify", []string{"url"}, `write the name of an environment variable that has the address: "${LARK_BOT_URL}"`)
	if err := badAddress(s.Kind, s.URL); s.URL != "" && err != nil {
		c.add(n, "notify", []string{"url"}, "%v", err)
	}
	switch {
	case s.Secret == "":
	case s.Kind == "slack" || s.Kind == "json":
		c.add(n, "notify", []string{"secret"}, "has no effect with kind %q; take it out", s.Kind)
	case !oneVariable.MatchString(s.Secret):
		c.add(n, "notify", []string{"secret"},
			`what is written here can be read in plan.json; write the name of an environment variable: "${LARK_BOT_SECRET}"`)
	}
}

// badAddress says what is wrong with an address as it is written, without showing it.
func badAddress(kind, address string) error {
	const variable = `write "${NAME}", and set that environment variable where submit is started`
	some := false
	if _, err := substitute(address, func(string) (string, error) { some = true; return "x", nil }); err != nil {
		return err
	}
	if some {
		return nil
	}
	if kind != "json" {
		return errors.New("is an address, with which anybody can post who reads it in plan.json; " + variable)
	}
	u, err := url.Parse(strings.ReplaceAll(address, "$$", "$"))
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return errors.New("is no address; write one with http:// or https:// and a host, or the name of an environment variable: \"${NAME}\"")
	case u.User != nil:
		return errors.New("has a password in it, which can be read in plan.json; " + variable)
	}
	return nil
}
