module github.com/tidings-go/tidings/tx/gormtx

go 1.26.0

require (
	github.com/jackc/pgx/v5 v5.12.0
	github.com/ncruces/go-sqlite3/gormlite v0.24.0
	github.com/stretchr/testify v1.12.1
	github.com/tidings-go/tidings v0.0.0
	github.com/tidings-go/tidings/eventlog v0.0.0
	gorm.io/driver/postgres v1.6.3
	gorm.io/gorm v1.31.2
	modernc.org/sqlite v1.60.1
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
