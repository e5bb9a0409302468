module github.com/tidings-go/tidings/relay/faulttest

go 1.26.0

replace github.com/tidings-go/tidings => ../../

replace github.com/tidings-go/tidings/durable => ../../durable

replace github.com/tidings-go/tidings/eventlog => ../../eventlog

replace github.com/tidings-go/tidings/relay => ../

replace github.com/tidings-go/tidings/relay/amqp => ../amqp

replace github.com/tidings-go/tidings/relay/aws => ../aws

replace github.com/tidings-go/tidings/relay/kafka => ../kafka

replace github.com/tidings-go/tidings/relay/nats => ../nats

replace github.com/tidings-go/tidings/relay/redis => ../redis
