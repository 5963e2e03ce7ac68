package jinja

import "errors"

var errRaised = errors.New("raised")
