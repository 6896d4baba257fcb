// Package otelsamplers lets a [samplers.Sampler] decide which traces OpenTelemetry keeps,
// so that the logs and the trace of a request are kept or dropped together.
//
//	provider := sdktrace.NewTracerProvider(
//		sdktrace.WithSampler(sdktrace.ParentBased(otelsamplers.New(s, nil))),
//		…
//	)
//
// # Decisions
//
// Wrap the sampler in [sdktrace.ParentBased], as above: then it is asked for the first span
// of a trace, and the others follow. If the context of that span carries a decision, as
// [samplers.Sampler.Middleware] and [samplers.ContextWithDecision] see to, that one holds.
// Otherwise the sampler decides, and may wait for the counters as long as
// [samplers.Options].Timeout. Its coin is then the randomness of the trace, so that
// services with the same Options.Tail keep the tails of the same traces.
//
// A span is dropped or kept when it starts. A request that ends in an error and is kept
// after all, as by [samplers.Upgrade], is kept in the logs only, unless that was before the
// trace began. Neither does a trace that began in another service follow the decision in
// the context: ParentBased follows the parent. Let the services hand on the decision, too,
// with [samplers.Transport], and both agree.
//
// A span that is kept has the attributes sample.reason and sample.weight.
//
// # Tracestate
//
// The weight is also written into the tracestate, as the threshold "th" of OpenTelemetry's
// consistent probability sampling, for collectors and backends that extrapolate: the span
// stands for 2^56 / (2^56-th) of them. As with the weights, sums are without bias as long as
// Options.Tail is not 0. These rules of the specification are followed:
//
//   - The randomness R of a trace is that of "rv" in the tracestate's member "ot", if there
//     is one, and else the last 56 bits of the trace's ID, whether they are flagged as random
//     or not. An rv that is there is never replaced.
//   - th has up to 14 hexadecimal digits, without the zeros at its end; it is 0 for weight 1.
//   - It is erased if the span is dropped, and if the threshold is not one that R has
//     reached.
//   - An rv is only added to the first span of a trace.
//   - The other parts of "ot", and the other members, stay as they are, in their order; "ot"
//     comes first if it has changed. It is not made longer than 256 characters: what does
//     not fit is left out.
//
// The last but one needs an explanation. The coin of a decision of the tail that the context
// carries is not known, and has nothing to do with R. For the first span of a trace an rv is
// then made up that is uniform from the threshold on, as R is in all traces that the threshold
// lets through; so whoever samples further by R, such as a collector, gets it right. In a trace
// that has its R already the threshold is written only if the parent was kept with the same one
// and R reaches it. Else the weight is in the attribute only.
package otelsamplers
