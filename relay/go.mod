module github.com/tidings-go/tidings/relay

go 1.26.0

require (
	github.com/google/uuid v1.6.0
	github.com/stretchr/testify v1.12.1
	github.com/tidings-go/tidings v0.0.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/tidings-go/tidings => ../
