// Imports FerretDB, so that go.mod and go.sum pin the modules that it is built from.

//go:build tools

package tools

import _ "github.com/FerretDB/FerretDB/cmd/ferretdb"
