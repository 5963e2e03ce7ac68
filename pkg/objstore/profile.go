package objstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/ini.v1"
)

// account is a server, and who is known there.
type account struct {
	name           string // for messages: where it was found
	endpoint       string // host and port
	secure         bool   // https
	region         string // "": the server is asked
	access, secret string
	session        string // token of temporary keys

}

// DefaultProfiles is where profiles are looked for unless something else is said.
const DefaultProfiles = "~/petreloss.conf"

// profiles finds accounts. getenv is the environment's.
type profiles struct {
	file   string // as petrel-oss has it: sections with host_base, access_key and secret_key
	getenv func(string) string
}

// find gives the account of a profile. Without a name it is that of AWS's environment, else of AWS's files, else the default_cluster of the
// profiles' file.
func (p profiles) find(name string) (account, error) {
	if name == "" {
		return p.unnamed()
	}
	all, err := p.load()
	if err == nil && all.HasSection(name) {
		return p.petrel(all, name)
	}
	if a, ok, awsErr := p.aws(name); ok || awsErr != nil {
		return a, awsErr
	}
	if err != nil {
		return account{}, fmt.Errorf("profile %q: %w", name, err)
	}
	return account{}, fmt.Errorf("no profile %q in %q, which has %s", name, p.file, listed(all))
}

func (p profiles) unnamed() (account, error) {
	if p.getenv("AWS_ACCESS_KEY_ID") != "" {
		a := account{name: "AWS_ACCESS_KEY_ID", access: p.getenv("AWS_ACCESS_KEY_ID"), secret: p.getenv("AWS_SECRET_ACCESS_KEY"),
			session: p.getenv("AWS_SESSION_TOKEN")}
		if a.secret == "" {
			return account{}, errors.New("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not")
		}
		return p.place(a, "", "")
	}
	if a, ok, err := p.aws(cmp.Or(p.getenv("AWS_PROFILE"), "default")); ok || err != nil {
		return a, err
	}
	all, err := p.load()
	if err != nil {
		return account{}, fmt.Errorf("no keys: AWS_ACCESS_KEY_ID is not set, AWS's credentials file has none, and: %w", err)
	}
	name := all.Section(ini.DefaultSection).Key("default_cluster").String()
	if name == "" {
		return account{}, fmt.Errorf("no keys: AWS_ACCESS_KEY_ID is not set, AWS's credentials file has none, and %q has no default_cluster; "+
			"write PROFILE:s3://... with one of its profiles: %s", p.file, listed(all))
	}
	if !all.HasSection(name) {
		return account{}, fmt.Errorf("%q has default_cluster = %q, but not that profile; it has %s", p.file, name, listed(all))
	}
	return p.petrel(all, name)
}

// load reads the profiles' file. Errors of the reader are not told, for they may have a line with a key in them.
func (p profiles) load() (*ini.File, error) {
	return readINI(p.file)
}

func readINI(path string) (*ini.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the file of profiles: %w", err)
	}
	f, err := ini.LoadSources(ini.LoadOptions{InsensitiveKeys: true, IgnoreInlineComment: true, IgnoreContinuation: true, SkipUnrecognizableLines: true,
		PreserveSurroundedQuote: true}, data)
	if err != nil {
		return nil, fmt.Errorf("the file of profiles %q is not an INI file", path)
	}
	return f, nil
}

// petrel reads a section as petrel-oss does: what it lacks is that of [DEFAULT].
func (p profiles) petrel(all *ini.File, name string) (account, error) {
	get := func(key string) string {
		return strings.TrimSpace(cmp.Or(all.Section(name).Key(key).Value(), all.Section(ini.DefaultSection).Key(key).Value()))
	}
	a := account{name: fmt.Sprintf("profile %q of %q", name, p.file), access: get("access_key"), secret: get("secret_key"), region: cmp.Or(get("region"), "us-east-1")}
	for _, need := range []struct{ key, value string }{{"host_base", get("host_base")}, {"access_key", a.access}, {"secret_key", a.secret}} {
		if need.value == "" {
			return account{}, fmt.Errorf("%s has no %s", a.name, need.key)
		}
	}
	host, _, _ := strings.Cut(get("host_base"), ",")
	if !strings.Contains(host, "://") && strings.EqualFold(get("use_https"), "false") {
		host = "http://" + host
	}
	err := a.at(host)
	return a, err
}

// aws reads a profile of AWS's shared files; false: they have no keys of that name.
func (p profiles) aws(name string) (account, bool, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return account{}, false, nil
	}
	file := cmp.Or(p.getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(home, ".aws", "credentials"))
	keys, err := readINI(file)
	if errors.Is(err, fs.ErrNotExist) {
		return account{}, false, nil
	} else if err != nil {
		return account{}, false, err
	}
	s := keys.Section(name)
	a := account{name: fmt.Sprintf("profile %q of %q", name, file), access: s.Key("aws_access_key_id").Value(), secret: s.Key("aws_secret_access_key").Value(),
		session: s.Key("aws_session_token").Value()}
	if a.access == "" && a.secret == "" {
		return account{}, false, nil
	}
	if a.access == "" || a.secret == "" {
		return account{}, false, fmt.Errorf("%s has only one of aws_access_key_id and aws_secret_access_key", a.name)
	}
	region, endpoint := s.Key("region").Value(), s.Key("endpoint_url").Value()
	if config, err := readINI(cmp.Or(p.getenv("AWS_CONFIG_FILE"), filepath.Join(home, ".aws", "config"))); err == nil {
		c := config.Section("profile " + name)
		if name == "default" && config.HasSection("default") {
			c = config.Section("default")
		}
		region, endpoint = cmp.Or(region, c.Key("region").Value()), cmp.Or(endpoint, c.Key("endpoint_url").Value())
	}
	a, err = p.place(a, region, endpoint)
	return a, true, err
}

// place fills in where AWS's keys are good for: the environment's word goes before that of files.
func (p profiles) place(a account, region, endpoint string) (account, error) {
	a.region = cmp.Or(p.getenv("AWS_REGION"), p.getenv("AWS_DEFAULT_REGION"), region)
	endpoint = cmp.Or(p.getenv("AWS_ENDPOINT_URL_S3"), p.getenv("AWS_ENDPOINT_URL"), endpoint)
	if endpoint == "" {
		a.endpoint, a.secure = "s3.amazonaws.com", true
		return a, nil
	}
	a.region = cmp.Or(a.region, "us-east-1")
	err := a.at(endpoint)
	return a, err
}

// at takes the server's address: a URL, or a host, whose scheme is https then.
func (a *account) at(host string) error {
	host = strings.TrimSpace(host)
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	u, err := url.Parse(host)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("%s: its address is not http://HOST[:PORT] or https://HOST[:PORT]", a.name)
	}
	a.endpoint, a.secure = u.Host, u.Scheme == "https"
	return nil
}

// listed names the profiles of a file.
func listed(f *ini.File) string {
	var names []string
	for _, s := range f.SectionStrings() {
		if s != ini.DefaultSection {
			names = append(names, s)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
