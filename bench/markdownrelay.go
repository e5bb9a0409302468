package bench

import (
	"fmt"
	"strings"
)

func writeRelays(page *strings.Builder, costs []RelayCost) {
	fmt.Fprintf(page, `
## Brokers

Messages through a broker on this machine: by an adapter of Watermill alone, and as events of tidings through a relay, which is one handler subscribed with Via. The adapter has the settings of the relay's driver, a consumer group, and messages that were made beforehand with the body and metadata that the relay sends; its consumer counts and acknowledges; “decoded” is the same with json.Unmarshal of the CloudEvent into a struct. With tidings an event is published on a bus, stamped and encoded; on the other side it is decoded, and the handler counts.
%d goroutines publish; then one consumer takes what waits, timed from the 20th message on; then a tenth as many go through one after the other, timed from the call of Publish to the handler. Each run has topics of its own, and the two take turns.

| %s | messages | publish/s, adapter | publish/s | x | consume/s, adapter | decoded | consume/s | x | ms p50, adapter | decoded | ms p50 | x | ms p99, adapter | ms p99 |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`, publishers, keyRelay)
	for _, c := range costs {
		fmt.Fprintf(page, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", c.Broker, Whole(c.Messages),
			Number(c.BarePublish.PerSecond()), Number(c.OursPublish.PerSecond()), Ratio(c.BarePublish.NS/c.OursPublish.NS),
			Number(c.BareConsume.PerSecond()), Number(c.DecodedConsume.PerSecond()), Number(c.OursConsume.PerSecond()), Ratio(c.BareConsume.NS/c.OursConsume.NS),
			millis(c.Bare.P50), millis(c.Decoded.P50), millis(c.Ours.P50), Ratio(float64(c.Bare.P50)/float64(c.Ours.P50)), millis(c.Bare.P99), millis(c.Ours.P99))
	}
}
