package objstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Address
		say  string // of String, where it differs
	}{
		{"s3://bucket/key/", Address{"", "bucket", "key/"}, ""},
		{"model_weights:s3://model_weights/0331/1006_pr/5499/", Address{"model_weights", "model_weights", "0331/1006_pr/5499/"}, ""},
		{"s3://bucket/a/b.json", Address{"", "bucket", "a/b.json"}, ""},
		{"s3://bucket", Address{"", "bucket", ""}, "s3://bucket/"},
		{"p:s3://bucket//a/", Address{"p", "bucket", "a/"}, "p:s3://bucket/a/"},
	} {
		got, err := Parse(c.in)
		if want := c.say; err != nil || got != c.want || got.String() != c.in && got.String() != want {
			t.Errorf("%q: %+v, %q, %v", c.in, got, got, err)
		}
	}
	for _, bad := range []string{"", "s3://", "s3:///a", "a b:s3://bkt/k", "http://b/k", "s3://bkt/../k", "s3://bkt/a//c", "s3://bkt/./", "S3://b/k", "p:q:s3://bkt/k"} {
		if a, err := Parse(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, a)
		}
	}
}

const petrel = `# a comment
[DEFAULT]
default_cluster = weights
host_base = http://ceph.example:7480

[weights]
Access_Key = AKweights
secret_key = "s#e;c=r\
et

[other]
host_base = ceph2.example
access_key = AKother
secret_key = SKother
use_https = False

[half]
access_key = AKhalf

[odd]
host_base = ftp://user:SKpass@x/path
access_key = AKodd
secret_key = SKodd
`

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"petreloss.conf": petrel, "credentials": "[default]\naws_access_key_id = AKdef\naws_secret_access_key = SKdef\n\n" +
		"[team]\naws_access_key_id=AKteam\naws_secret_access_key=SKteam\naws_session_token=TOKteam\n\n[broken]\naws_access_key_id=AKbroken\n",
		"config": "[default]\nregion = eu-west-1\n[profile team]\nendpoint_url = https://s3.team.example\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shared := map[string]string{"AWS_SHARED_CREDENTIALS_FILE": dir + "/credentials", "AWS_CONFIG_FILE": dir + "/config"}
	none := map[string]string{"AWS_SHARED_CREDENTIALS_FILE": dir + "/nowhere"}
	with := func(base map[string]string, more ...string) map[string]string {
		all := map[string]string{}
		for k, v := range base {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	for _, c := range []struct {
		what, profile string
		env           map[string]string
		want          account // without its name
		err           string
	}{
		{what: "of the file", profile: "other", env: none, want: account{endpoint: "ceph2.example", region: "us-east-1", access: "AKother", secret: "SKother"}},
		{what: "what is missing is DEFAULT's", profile: "weights", env: none,
			want: account{endpoint: "ceph.example:7480", region: "us-east-1", access: "AKweights", secret: `"s#e;c=r\`}},
		{what: "the default cluster", env: none, want: account{endpoint: "ceph.example:7480", region: "us-east-1", access: "AKweights", secret: `"s#e;c=r\`}},
		{what: "AWS's environment", env: with(shared, "AWS_ACCESS_KEY_ID", "AKenv", "AWS_SECRET_ACCESS_KEY", "SKenv", "AWS_ENDPOINT_URL", "http://h:9000/"),
			want: account{endpoint: "h:9000", region: "us-east-1", access: "AKenv", secret: "SKenv"}},
		{what: "AWS's files", env: shared, want: account{endpoint: "s3.amazonaws.com", secure: true, region: "eu-west-1", access: "AKdef", secret: "SKdef"}},
		{what: "a profile of AWS's files", profile: "team", env: shared,
			want: account{endpoint: "s3.team.example", secure: true, region: "us-east-1", access: "AKteam", secret: "SKteam", session: "TOKteam"}},
		{what: "AWS_PROFILE", env: with(shared, "AWS_PROFILE", "team", "AWS_REGION", "x"),
			want: account{endpoint: "s3.team.example", secure: true, region: "x", access: "AKteam", secret: "SKteam", session: "TOKteam"}},
		{what: "unknown", profile: "nope", env: none, err: `no profile "nope" in`},
		{what: "unknown ones are told the others", profile: "nope", env: shared, err: "weights, other, half, odd"},
		{what: "half a profile", profile: "half", env: none, err: "has no secret_key"},
		{what: "an odd address", profile: "odd", env: none, err: "its address is not http://HOST[:PORT]"},
		{what: "half of AWS's", profile: "broken", env: shared, err: "has only one of"},
		{what: "half of the environment", env: with(none, "AWS_ACCESS_KEY_ID", "AKenv"), err: "AWS_SECRET_ACCESS_KEY is not"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, err := profiles{file: dir + "/petreloss.conf", getenv: func(k string) string { return c.env[k] }}.find(c.profile)
			got.name = ""
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || err == nil && got != c.want {
				t.Errorf("%+v, %v; want %+v, %q", got, err, c.want, c.err)
			}
			noKeys(t, err)
		})
	}
	_, err := profiles{file: dir + "/nowhere.conf", getenv: func(k string) string { return none[k] }}.find("x")
	if err == nil || !strings.Contains(err.Error(), "nowhere.conf") {
		t.Error(err)
	}
}

// noKeys holds that an error says nothing of the keys that the tests use.
func noKeys(t testing.TB, err error) {
	t.Helper()
	for _, key := range []string{"AK", "SK", "TOK", "c=r"} {
		if err != nil && strings.Contains(strings.NewReplacer("AWS_SECRET_ACCESS_KEY", "", "AWS_ACCESS_KEY_ID", "").Replace(err.Error()), key) {
			t.Errorf("the error tells a key: %v", err)
		}
	}
}

// FuzzProfiles holds that whatever a file holds gives an account that is whole, or an error without keys.
func FuzzProfiles(f *testing.F) {
	f.Add(petrel, "weights")
	f.Add("[a]\nhost_base=x:y\naccess_key=AK\nsecret_key=SK", "a")
	f.Add("\xff\xfe[", "")
	f.Fuzz(func(t *testing.T, text, name string) {
		path := filepath.Join(t.TempDir(), "p")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
		a, err := profiles{file: path, getenv: func(k string) string { return env[k] }}.find(name)
		if err == nil && (a.endpoint == "" || a.access == "" || a.secret == "") {
			t.Errorf("%+v", a)
		}
	})
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{"1": 1, "500G": 500 << 30, "1.5TiB": 3 << 39, "800 GB": 800 << 30, "64k": 64 << 10, " 7 B ": 7} {
		if got, err := ParseBytes(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "0", "-1G", "G", "1X", "1e30T", "NaN", "inf"} {
		if got, err := ParseBytes(bad); err == nil {
			t.Errorf("%q is taken for %d", bad, got)
		}
	}
}
