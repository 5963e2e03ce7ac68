package objstore

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Address is where something lies in an object store.
type Address struct {
	Profile string // of the profiles' file; "": AWS's environment and files, or that file's default_cluster
	Bucket  string
	Key     string // of an object, or what the keys of several begin with, "/" at the end
}

var addresses = regexp.MustCompile(`^(?:([A-Za-z0-9_.-]+):)?s3://([^/]+)/*(.*)$`)

// IsAddress tells whether a path is that of an object store, well written or not.
func IsAddress(path string) bool { return strings.Contains(path, "s3://") }

// Parse reads "s3://bucket/key/" or "profile:s3://bucket/key/".
func Parse(s string) (Address, error) {
	m := addresses.FindStringSubmatch(s)
	if m == nil {
		return Address{}, fmt.Errorf("%q: want s3://BUCKET/KEY/ or PROFILE:s3://BUCKET/KEY/", s)
	}
	a := Address{Profile: m[1], Bucket: m[2], Key: m[3]}
	if err := s3utils.CheckValidBucketName(a.Bucket); err != nil {
		return Address{}, fmt.Errorf("%q: no bucket can be called %q: %w", s, a.Bucket, err)
	}
	for _, part := range strings.Split(strings.TrimSuffix(a.Key, "/"), "/") {
		if a.Key != "" && (part == "" || part == "." || part == "..") {
			return Address{}, fmt.Errorf("%q: the key has an element %q", s, part)
		}
	}
	return a, nil
}

func (a Address) String() string {
	s := "s3://" + a.Bucket + "/" + a.Key
	if a.Profile != "" {
		s = a.Profile + ":" + s
	}
	return s
}

// Join is the address of what lies below a.
func Join(address, name string) string { return strings.TrimRight(address, "/") + "/" + name }

// Split takes the last element off an address: "s3://b/k/file" is "s3://b/k/" and "file".
func Split(address string) (dir, name string) {
	i := strings.LastIndexByte(address, '/')
	return address[:i+1], address[i+1:]
}
