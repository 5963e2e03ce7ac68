package track

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The environment variables of MLflow's own clients.
const (
	EnvURI      = "MLFLOW_TRACKING_URI"
	EnvToken    = "MLFLOW_TRACKING_TOKEN"
	EnvUser     = "MLFLOW_TRACKING_USERNAME"
	EnvPassword = "MLFLOW_TRACKING_PASSWORD"
)

// Server is an MLflow tracking server and the experiment there. The zero values of its last fields are the usual ones.
type Server struct {
	Experiment string
	Tags       map[string]string // of every run

	base     *url.URL
	token    string
	user     string
	password string

	timeout time.Duration   // of one try
	pauses  []time.Duration // between tries, one less than these are
}

// NewServer finds a server at an address, http or https, or without one at that of the environment, and how to log in there: by name and
// password, which the address of the environment may have, else by token. No error shows any of these.
func NewServer(address string, getenv func(string) string) (*Server, error) {
	if address == "" {
		address = getenv(EnvURI)
	}
	if address == "" {
		return nil, fmt.Errorf("where MLflow's server is nobody says: write track.mlflow.uri, or set %s", EnvURI)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the address of MLflow's server is none with http:// or https:// and a host; mend track.mlflow.uri, or %s", EnvURI)
	}
	s := &Server{base: u, token: getenv(EnvToken), user: getenv(EnvUser), password: getenv(EnvPassword)}
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return s, nil
}

// Address is the server's, without what logs in there.
func (s *Server) Address() string { return s.base.String() }

// String is Address: the rest is nobody's business.
func (s *Server) String() string { return s.Address() }

// GoString is Address, for whoever prints a server with %#v.
func (s *Server) GoString() string { return s.Address() }

// A try takes 10 s at most. Three of them, with pauses of 1 s and 3 s, are enough for a server that is started anew. What a server asks for with
// Retry-After is bounded by the longest pause.
const (
	tryTimeout   = 10 * time.Second
	longestPause = 3 * time.Second
	mostAnswer   = 64 << 20 // bytes
)

var tryPauses = []time.Duration{time.Second, longestPause}

// never says that another try is of no use.
const never = -1

// refusal is a server's word that something is not done, as its API has it.
type refusal struct {
	code string // "RESOURCE_DOES_NOT_EXIST" and the like; "": it gave none
	text string
}

func (e *refusal) Error() string { return e.text }

// refused says whether a server refused with a code.
func refused(err error, code string) bool {
	var r *refusal
	return errors.As(err, &r) && r.code == code
}

// call asks the server for something that may be asked again: what passes by itself is tried three times. in and out may be nil.
func (s *Server) call(ctx context.Context, method, path string, in, out any) error {
	for try := 0; ; try++ {
		again, err := s.try(ctx, method, path, in, out)
		if err == nil || !s.mayTry(ctx, try, again) {
			return err
		}
	}
}

// mayTry waits before the next try; false: there is none.
func (s *Server) mayTry(ctx context.Context, try int, again time.Duration) bool {
	pauses := s.pauses
	if pauses == nil {
		pauses = tryPauses
	}
	if again < 0 || try >= len(pauses) {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(min(max(again, pauses[try]), longestPause)):
		return true
	}
}

// try asks once. again is how long the server asks to wait before the next try, or never.
func (s *Server) try(ctx context.Context, method, path string, in, out any) (again time.Duration, err error) {
	timeout := s.timeout
	if timeout == 0 {
		timeout = tryTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := s.request(ctx, method, path, in)
	if err != nil {
		return never, err
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return 0, plain(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return 0, plain(err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return s.judge(resp, answer)
	}
	if out == nil {
		return 0, nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return 0, fmt.Errorf("its answer is not that of MLflow%s: is the address right?", s.said(answer))
	}
	return 0, nil
}

func (s *Server) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("writing to MLflow: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(s.base.String(), "/")+"/api/2.0/mlflow/"+path, body)
	if err != nil {
		return nil, errors.New("the address is no URL")
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "sextant")
	switch {
	case s.user != "":
		req.SetBasicAuth(s.user, s.password)
	case s.token != "":
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	return req, nil
}

// plain is an error of the client without the address, which it begins with.
func plain(err error) error {
	var u *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it does not answer")
	case errors.As(err, &u):
		return u.Err
	}
	return err
}

// judge says what an answer means that is not one of success.
func (s *Server) judge(resp *http.Response, answer []byte) (again time.Duration, err error) {
	var told struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(answer, &told) // a proxy's answer is none of MLflow's
	r := &refusal{code: told.Code, text: fmt.Sprintf("it answers %s%s", resp.Status, s.said(answer))}
	if told.Code != "" {
		r.text = fmt.Sprintf("it answers %s%s", told.Code, s.said([]byte(told.Message)))
	}
	switch code := resp.StatusCode; {
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		return retryAfter(resp), r
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		r.text += fmt.Sprintf(": log in with %s, or with %s and %s", EnvToken, EnvUser, EnvPassword)
	case code >= 300 && code < 400:
		r.text += ": the address has moved; give the new one"
	case told.Code == "":
		r.text += ": is the address that of MLflow's server?"
	}
	return never, r
}

func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}

// said shows a server's words in one line; "" when it said nothing, or said a secret back.
func (s *Server) said(answer []byte) string {
	for _, secret := range []string{s.token, s.password} {
		if secret != "" && strings.Contains(string(answer), secret) {
			return ""
		}
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, string(answer[:min(len(answer), 300)]))
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", text)
}
