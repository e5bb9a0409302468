// Package aws lets a relay use SNS and SQS as its broker.
package aws
