//! Rows read by pieces of their chunks, beside the same rows read by whole chunks.

use super::super::checksum::Mixer;
use super::super::footer::{FOOTER_LEN, HEADER_LEN};
use super::super::group_header::GroupHeader;
use super::*;

/// Rows with texts that no table of symbols makes short, some empty, some null, some long.
fn texts() -> (TreeSchema, Vec<Entry>) {
    let types = [
        (DataType::Int64, false),
        (DataType::Utf8View, true),
        (DataType::Int32, true),
        (DataType::BinaryView, true),
    ];
    let random = SeededRandom::new(11);
    let bytes = |len: u64| -> Vec<u8> { (0..len).map(|_| random.below(256) as u8).collect() };
    let entry = |key: i64| {
        let text = (0..random.below(60)).map(|_| char::from(b' ' + random.below(90) as u8));
        let text = match random.below(9) {
            0 => Value::Null,
            1 => Value::Text("a word and a word and a word and a word".repeat(9)),
            _ => Value::Text(text.collect::<String>()),
        };
        let long = if random.chance(30) { 20_000 } else { 30 };
        let values = vec![text, Value::Int(key % 50), Value::Binary(bytes(random.below(long)))];
        Entry { key: vec![Value::Int(key)], seq: 5, kind: OpKind::Put, values }
    };
    (schema(&types, &[false]), (0..1_000).map(entry).collect())
}

/// All of a file's rows, each read by itself as a get does.
fn rows_one_by_one(bench: &Bench, meta: &FileMeta, cache: u64) -> Result<Vec<Vec<Value>>> {
    let reader = bench.open_with(meta, Arc::new(BlockCache::new(cache)))?;
    let columns: Vec<usize> = (0..bench.schema.columns.len()).collect();
    let mut all = Vec::new();
    for (number, entry) in reader.groups().iter().enumerate() {
        for row in 0..entry.rows as usize {
            let mut out = RowBuffer::new();
            let group = reader.group_for_row(number, &bench.schema, &columns)?;
            group.row(&columns, row, &mut out)?;
            all.push(out.iter().map(|value| value.to_value()).collect());
        }
    }
    Ok(all)
}

#[test]
fn rows_read_by_pieces_are_those_read_by_chunks() {
    let (schema, entries) = texts();
    let written: Vec<Vec<Value>> =
        entries.iter().map(|entry| [entry.key.clone(), entry.values.clone()].concat()).collect();
    for piece_chunk_bytes in [0, 10_000, usize::MAX] {
        let options = Options { group_rows: 300, piece_chunk_bytes, ..Options::default() };
        let bench = Bench::new(schema.clone(), options);
        let meta = bench.write(7, &entries);
        for cache in [0, 40 << 10, 64 << 20] {
            let rows = rows_one_by_one(&bench, &meta, cache).unwrap();
            assert!(rows == written, "pieces from {piece_chunk_bytes}, cache of {cache}");
        }
    }
}

#[test]
fn row_of_a_group_that_a_full_cache_lacks_costs_a_few_pieces() {
    let (schema, entries) = texts();
    let bench = Bench::new(schema, Options { group_rows: 1_000, ..Options::default() });
    let meta = bench.write(7, &entries);
    let cache = Arc::new(BlockCache::new(300 << 10));
    let reader = bench.open_with(&meta, Arc::clone(&cache)).unwrap();
    let get = |row: usize| {
        let mut out = RowBuffer::new();
        let group = reader.group_for_row(0, &bench.schema, &[0, 1, 2, 3]).unwrap();
        group.row(&[0, 1, 2, 3], row, &mut out).unwrap();
        assert_eq!(out.get(3).to_value(), entries[row].values[2]);
        cache.file_bytes()
    };
    let first = get(1);
    let group = u64::from(reader.groups()[0].length);
    assert!(first < group / 4, "{first} of {group} bytes: keys, fronts and a piece of each text");
    let held = cache.bytes();
    assert!((1..first).contains(&held), "{held} of {first} bytes stay");
    for row in 2..100 {
        get(row);
    }
    assert_eq!(cache.bytes(), held, "what was read for a row leaves with it");
    let before = get(199);
    let again = get(200) - before;
    assert!(again < 40 << 10, "{again} bytes for a row whose fronts are there");
}

#[test]
fn chunks_take_the_place_of_fronts_once_the_cache_has_room() {
    let (schema, entries) = texts();
    let bench = Bench::new(schema, Options { group_rows: 100, ..Options::default() });
    let meta = bench.write(7, &entries);
    let other = bench.write(8, &entries);
    let cache = Arc::new(BlockCache::new(meta.size * 5 / 4));
    let (reader, filler) = (
        bench.open_with(&meta, Arc::clone(&cache)).unwrap(),
        bench.open_with(&other, Arc::clone(&cache)).unwrap(),
    );
    bench.read(&filler).unwrap();
    let read = || {
        for row in 0..100 {
            let mut out = RowBuffer::new();
            let group = reader.group_for_row(0, &bench.schema, &[0, 3]).unwrap();
            group.row(&[0, 3], row, &mut out).unwrap();
        }
        cache.file_reads()
    };
    let reads = [read(), read(), read()];
    assert!(reads[2] - reads[1] >= 90, "each row by pieces: {reads:?}");
    drop(filler);
    let reads = [read(), read(), read()];
    assert_eq!(reads[2] - reads[1], 0, "the chunk is there: {reads:?}");
}

#[test]
fn every_flipped_byte_of_a_piece_is_found_by_the_get_that_reads_it() {
    let (schema, entries) = texts();
    let bench = Bench::new(schema, Options { group_rows: 300, ..Options::default() });
    let meta = bench.write(7, &entries[..300]);
    let intact = rows_one_by_one(&bench, &meta, 0).unwrap();
    let reader = bench.open(&meta).unwrap();
    let end = reader.groups()[0].offset + u64::from(reader.groups()[0].length);
    drop(reader);
    let random = SeededRandom::new(3);
    let mut found = 0;
    for _ in 0..200 {
        let at = random.below(end) as usize;
        bench.vfs.damage(&Bench::path(7), |bytes| bytes[at] ^= 0x10).unwrap();
        match rows_one_by_one(&bench, &meta, 0) {
            Ok(rows) => assert!(rows == intact, "byte {at}"),
            Err(error) => {
                found += 1;
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
                assert!(error.to_string().starts_with("/sst/0000000007.sst at offset "));
            }
        }
        bench.vfs.damage(&Bench::path(7), |bytes| bytes[at] ^= 0x10).unwrap();
    }
    assert!(found > 180, "{found} of 200 flips were found");
}

#[test]
fn verification_finds_a_checksum_of_a_piece_that_is_not_its_own() {
    let (schema, entries) = texts();
    let bench = Bench::new(schema, Options::default());
    let meta = bench.write(7, &entries);
    let reader = bench.open(&meta).unwrap();
    reader.verify(&bench.schema, &bench.codec).unwrap();
    let group = reader.groups()[0].clone();
    drop(reader);
    let (start, header_len) = (group.offset as usize, group.header_length as usize);
    bench
        .vfs
        .damage(&Bench::path(7), |bytes| {
            // The last of them stands before the header's own.
            bytes[start + header_len - 16] ^= 1;
            let mixer = Mixer { uuid: UUID, file: 7 };
            GroupHeader::remix(&mut bytes[start..], header_len, &mixer, group.offset);
        })
        .unwrap();
    let reader = bench.open(&meta).unwrap();
    let error = reader.verify(&bench.schema, &bench.codec).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn file_of_the_first_format_is_read_and_its_groups_are_copied() {
    let (schema, entries) = texts();
    let without = Options { piece_chunk_bytes: usize::MAX, ..Options::default() };
    let mut bench = Bench::new(schema, without);
    let mut meta = bench.write(7, &entries);
    let mixer = Mixer { uuid: UUID, file: 7 };
    bench
        .vfs
        .damage(&Bench::path(7), |bytes| {
            let footer = bytes.len() - FOOTER_LEN;
            for (start, len) in [(0, HEADER_LEN), (footer, FOOTER_LEN)] {
                assert_eq!(bytes[start + 8..start + 12], 2_u32.to_le_bytes());
                bytes[start + 8] = 1;
                let end = start + len - 8;
                let sealed = mixer.seal(start as u64, &bytes[start..end]);
                bytes[end..end + 8].copy_from_slice(&sealed.to_le_bytes());
                meta.footer_checksum = sealed;
            }
        })
        .unwrap();
    let written: Vec<Vec<Value>> =
        entries.iter().map(|entry| [entry.key.clone(), entry.values.clone()].concat()).collect();
    assert!(rows_one_by_one(&bench, &meta, 0).unwrap() == written);
    let reader = bench.open(&meta).unwrap();
    reader.verify(&bench.schema, &bench.codec).unwrap();

    bench.options = Options::default();
    let mut writer = bench.writer(9);
    for group in 0..reader.groups().len() {
        let copied = writer.copy_group(&reader, group, CopySeq::Keep).unwrap();
        assert_eq!(copied, CopyOutcome::Copied);
    }
    let copy = writer.finish().unwrap();
    assert!(rows_one_by_one(&bench, &copy, 0).unwrap() == written);
}
