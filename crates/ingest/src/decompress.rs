//! Undoes gzip and Zstandard, told apart by the first bytes and not by the file's name.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

pub(crate) type Input = Box<dyn Read + Send>;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The plain bytes of `input`, and whether it was compressed. Memory is bounded by the formats'
/// windows (zstd: 128 MiB, larger ones are refused by the decoder).
pub(crate) fn decompress(mut input: Input) -> io::Result<(Input, bool)> {
    let mut head = Vec::with_capacity(ZSTD.len());
    input.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
    let gzip = head.starts_with(&GZIP);
    let zstd = head == ZSTD;
    let whole = io::Cursor::new(head).chain(input);
    let plain: Input = if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(zstd::stream::read::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    };
    Ok((plain, gzip || zstd))
}

/// Counts the bytes that pass, before decompression.
pub(crate) struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(crate) fn new(inner: R, bytes: Arc<AtomicU64>) -> Self {
        Self { inner, bytes }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: io::Seek> io::Seek for Counted<R> {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn plain(bytes: Vec<u8>) -> (Vec<u8>, bool) {
        let (mut input, compressed) = decompress(Box::new(io::Cursor::new(bytes))).unwrap();
        let mut out = Vec::new();
        input.read_to_end(&mut out).unwrap();
        (out, compressed)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compression_is_told_by_the_first_bytes() {
        assert_eq!(plain(b"a,b\n".to_vec()), (b"a,b\n".to_vec(), false));
        assert_eq!(plain(Vec::new()), (Vec::new(), false));
        assert_eq!(plain(b"a".to_vec()), (b"a".to_vec(), false));
        assert_eq!(plain(gzip(b"a,b\n")), (b"a,b\n".to_vec(), true));
        assert_eq!(plain(zstd::encode_all(&b"a,b\n"[..], 1).unwrap()), (b"a,b\n".to_vec(), true));
    }

    #[test]
    fn every_member_of_a_gzip_file_is_read() {
        let mut both = gzip(b"first\n");
        both.extend(gzip(b"second\n"));
        assert_eq!(plain(both).0, b"first\nsecond\n");
    }
}
