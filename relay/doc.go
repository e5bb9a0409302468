// Package relay carries events through a message broker.
package relay
