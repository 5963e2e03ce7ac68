// Package score turns records into scores with n, missing and standard error.
package score
