/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PKT_CSUM_H
#define XMBUF_PKT_CSUM_H

#include "base/base.h"
#include "buf/multibuf.h"

/*
 * csum: the Internet checksum (RFC 1071) over chains, and partial checksums
 * made whole.
 *
 * A sum here is the ones' complement sum of big-endian 16-bit words, as a
 * number of the host's, not complemented.  Chunks may be of odd length: a word
 * that begins in one and ends in the next counts as the word it is.
 *
 * Partial checksums.  A sender with checksum offload leaves the L4 field
 * holding P, the bare sum of the pseudo-header (addresses, protocol, L4
 * length), folded but not complemented, for its device to add the rest.  A
 * veth has no device behind it and hands the packet over as it is; a program
 * that sends it on to elsewhere has to finish the work.  Nothing in the bytes
 * but the field tells such a packet, so the field is compared with P.
 *
 * A finished checksum C that happens to equal P (1 packet in 65,535) is
 * taken for a partial one, and comes out unchanged.  With D the sum of all
 * other L4 words, C is right when C + P + D = 0 modulo 65,535.  What is written
 * is the complement of the L4 words' sum, field included; the field holds P,
 * so this is -(P + D), which is C modulo 65,535.  The field of 16 bits has two
 * forms of zero and one of any other number.  P is never 0x0000 (the protocol
 * is not), so C is not either; and 0x0000 is never written, but 0xffff in its
 * place, as UDP demands and TCP permits.  Hence the same bits.
 * A packet damaged on its way whose field happens to be P would come out
 * looking right: call this only for what was received from a device whose
 * peer may leave partial checksums, where there is no wire to damage it.
 *
 * Left alone: fragments, in which no sender leaves one; SCTP, and what tunnels
 * carry; packets with is_rerouted, see parse.h.  A super-packet of segmentation
 * offload, as a program in generic mode may get one, holds P with its whole
 * length on a veth (seen on 6.18) and comes out as the one long packet it is.
 * Where a driver took the length out again, for a device that cuts, the field
 * is no P and is left alone: out of scope, switch that offload off.
 *
 * Units      Bytes.
 * Threads    One at a time for each multibuf.
 * Errors     As documented; a refused call changes nothing.
 */

/*
 * Add len bytes at off to sum, which may be the result for an even number of
 * bytes before them or any other sum of words; folded to 16 bits.  0 only if
 * sum and all bytes are.  Beyond the end of the packet: abort.
 */
XMB_API uint32_t xmb_csum_add(const struct xmb_multibuf *mb, size_t off,
			      size_t len, uint32_t sum);

/*
 * Finish the TCP or UDP checksum if it is partial.  1: it was, and the field
 * was written.  0: nothing to do, nothing written.
 * -EPROTO: malformed, see xmb_parse().  -EPERM: it was, but the field is in a
 * read-only chunk: sent as it is, the packet would be wrong.
 */
XMB_API int xmb_csum_complete(struct xmb_multibuf *mb);

/*
 * How many of mbs, from the first on, one quick look finds to need none of
 * this: so the first that complete() has to look at.
 */
XMB_API uint32_t xmb_csum_count_complete(const struct xmb_multibuf *mbs,
					 uint32_t cnt);

#endif /* XMBUF_PKT_CSUM_H */
