module github.com/tidings-go/tidings/examples

go 1.25.0

require github.com/tidings-go/tidings v0.0.0

replace github.com/tidings-go/tidings => ../
