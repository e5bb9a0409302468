module github.com/tidings-go/tidings/tx/gormtx

go 1.26.0

require (
	github.com/tidings-go/tidings v0.0.0
	gorm.io/gorm v1.31.2
)

require (
	github.com/google/uuid v1.6.0 // indirect
	github.com/jinzhu/inflection v1.0.0 // indirect
	github.com/jinzhu/now v1.1.5 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/tidings-go/tidings => ../../

replace github.com/tidings-go/tidings/eventlog => ../../eventlog
