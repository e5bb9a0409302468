package bench

import "fmt"

// relayBars has four bars for each broker that was measured.
func (r Report) relayBars() (bars []Bar) {
	if len(r.Relays) == 0 {
		return []Bar{{Case: "Relay", Limit: "≥ 0.9x of the adapter", Verdict: NotMeasured}}
	}
	const limit = 0.9
	for _, c := range r.Relays {
		bar := func(what, limitOf string, bare, ours float64, measured string) {
			ratio := bare / ours // both are times
			bars = append(bars, Bar{
				Case: "Relay: " + what + ", " + c.Broker, Limit: fmt.Sprintf("≥ %gx the %s of the adapter", limit, limitOf),
				Measured: fmt.Sprintf("%sx (%s)", Ratio(ratio), measured), Verdict: verdict(ratio >= limit),
			})
		}
		rates := func(bare, ours Sample) string {
			return fmt.Sprintf("%s to %s per second", Number(ours.PerSecond()), Number(bare.PerSecond()))
		}
		bar("publish", "rate", c.BarePublish.NS, c.OursPublish.NS, rates(c.BarePublish, c.OursPublish))
		bar("consume", "rate", c.BareConsume.NS, c.OursConsume.NS, rates(c.BareConsume, c.OursConsume))
		bar("latency, p50", "speed", float64(c.Bare.P50), float64(c.Ours.P50), fmt.Sprintf("%s to %s ms", millis(c.Ours.P50), millis(c.Bare.P50)))
		bar("latency, p99", "speed", float64(c.Bare.P99), float64(c.Ours.P99), fmt.Sprintf("%s to %s ms", millis(c.Ours.P99), millis(c.Bare.P99)))
	}
	return bars
}
