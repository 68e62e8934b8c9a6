"""Miniatures of the public sets, with their own lists and generated media, become the manifests they should."""

from __future__ import annotations

import csv
import os
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.video import R3D_18_Weights

from avid_lab import cli
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets import ClipDataset, Manifest, folder, index_folder, layouts
from avid_lab.datasets import probe_file as probing
from avid_lab.datasets.layouts import KINETICS_SOUNDS, LAYOUTS, Candidate
from avid_lab.media import Clip, write_clip

PICTURE = torch.randint(0, 256, (3, 8, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
SOUND = torch.sin(torch.arange(8000) / 3)[None] / 2
IDS = ("-abCDeFgHiJ", "b_c-d_e-f_g", "Y0123456789")


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> dict[str, Path]:
    """One second each of a video, a mute one, a silent one, a sound; and one that is too short."""
    made = tmp_path_factory.mktemp("media")
    write_clip(made / "video.mp4", Clip(PICTURE, SOUND, 8.0, 8000))
    write_clip(made / "mute.mp4", Clip(PICTURE, None, 8.0, None))
    write_clip(made / "silent.mp4", Clip(PICTURE, torch.zeros(1, 8000), 8.0, 8000))
    write_clip(made / "short.mp4", Clip(PICTURE[:, :2], SOUND[:, :2000], 8.0, 8000))
    with wave.open(str(made / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((SOUND[0].numpy() * 32767).astype(np.int16).tobytes())
    return {path.stem: path for path in made.iterdir()}


@pytest.fixture
def put(tmp_path, media):
    """Puts a copy of one of the media at a place in the folder."""

    def copy(place: str, what: str = "video") -> None:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(media[what], tmp_path / place)

    return copy


def index(root: Path, layout: str, **settings) -> Manifest:
    return index_folder(root, layout=layout, workers=0, progress=False, **settings)


def rows(manifest: Manifest) -> list[tuple[str, ...]]:
    return [(record.id, record.path, record.label, record.split) for record in manifest.records]


def left_out(manifest: Manifest) -> dict[str, str]:
    return {item.path: item.reason for item in manifest.unusable}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


KINETICS_HEADER = "label,youtube_id,time_start,time_end,split\n"


def test_kinetics_in_class_folders_and_flat(tmp_path, put):
    train = KINETICS_HEADER + (
        '"playing guitar",-abCDeFgHiJ,19,29,train\n'
        "abseiling,0123456789a,0,10,train\n"
        "abseiling,gone_______,7,17,train\n"
        "abseiling,mute_______,7,17,train\n"
        "bowling,-abCDeFgHiJ,19,29,train\n"
    )
    write(tmp_path / "annotations" / "train.csv", train)
    write(tmp_path / "annotations" / "validate.csv", KINETICS_HEADER + "bowling,b_c-d_e-f_g,100,110,validate\n")
    write(tmp_path / "annotations" / "test.csv", "youtube_id,time_start,time_end,split\nt__________,1,11,test\n")
    put("train/playing guitar/-abCDeFgHiJ_000019_000029.mp4")
    put("train/abseiling/0123456789a_000000_000010.mp4")
    put("train/abseiling/mute________000007_000017.mp4", "mute")
    put("replacement/0123456789a_000000_000010.mp4")
    put("val/b_c-d_e-f_g_000100_000110.mp4")
    put("test/t___________000001_000011.mp4")
    put("val/unknown_000001_000011.mp4")
    write(tmp_path / "README.md", "")
    manifest = index(tmp_path, "kinetics400")
    assert rows(manifest) == [
        ("-abCDeFgHiJ_000019_000029", "train/playing guitar/-abCDeFgHiJ_000019_000029.mp4", "playing guitar", "train"),
        ("0123456789a_000000_000010", "replacement/0123456789a_000000_000010.mp4", "abseiling", "train"),
        ("b_c-d_e-f_g_000100_000110", "val/b_c-d_e-f_g_000100_000110.mp4", "bowling", "val"),
        ("t___________000001_000011", "test/t___________000001_000011.mp4", "", "test"),
    ]
    assert left_out(manifest) == {
        "-abCDeFgHiJ_000019_000029": "listed twice",
        "README.md": "no video file",
        "gone________000007_000017": "missing",
        "train/abseiling/0123456789a_000000_000010.mp4": "duplicate",
        "train/abseiling/mute________000007_000017.mp4": "no sound",
        "val/unknown_000001_000011.mp4": "not listed",
    }


def test_ids_and_order_do_not_depend_on_where_the_files_lie(tmp_path, put):
    write(tmp_path / "train.csv", KINETICS_HEADER + "b,aaaaaaaaaaa,1,11,train\na,bbbbbbbbbbb,1,11,train\n")
    for place in ("{0}_000001_000011.mp4", "deep/er/{0}_000001_000011.mp4"):
        shutil.rmtree(tmp_path / "deep", ignore_errors=True)
        for path in tmp_path.glob("*.mp4"):
            path.unlink()
        for name in ("aaaaaaaaaaa", "bbbbbbbbbbb"):
            put(place.format(name))
        manifest = index(tmp_path, "kinetics400")
        assert manifest.column("id") == ["aaaaaaaaaaa_000001_000011", "bbbbbbbbbbb_000001_000011"]
        assert manifest.labels.tolist() == [1, 0]


def test_kinetics_sounds_is_a_part_of_kinetics(tmp_path, put):
    assert set(R3D_18_Weights.DEFAULT.meta["categories"]) >= KINETICS_SOUNDS and len(KINETICS_SOUNDS) == 30
    write(tmp_path / "val.csv", KINETICS_HEADER + "bowling,a,1,11,val\narchery,b,1,11,val\narchery,c,1,11,val\n")
    put("a_000001_000011.mp4")
    put("b_000001_000011.mp4")
    manifest = index(tmp_path, "kinetics-sounds")
    assert rows(manifest) == [("a_000001_000011", "a_000001_000011.mp4", "bowling", "val")]
    assert left_out(manifest) == {"b_000001_000011.mp4": "another class"}


AUDIOSET_HEADER = (
    "# Segments csv created Sun Mar  5 10:54:25 2017\n"
    "# num_ytids=2, num_segs=2, num_unique_labels=3, num_positive_labels=3\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)


def test_audioset(tmp_path, put):
    balanced = AUDIOSET_HEADER + (
        '-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"\n'
        'bbbbbbbbbbb, 0.000, 10.000, "/m/09x0r"\n'
        'ccccccccccc, 30.000, 40.000, "/m/unknown"\n'
    )
    write(tmp_path / "csv" / "balanced_train_segments.csv", balanced)
    write(tmp_path / "csv" / "eval_segments.csv", AUDIOSET_HEADER + 'ddddddddddd, 2.500, 12.500, "/m/09x0r"\n')
    names = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/03v3yw,"Keys jangling"\n2,/m/0k4j,"Car, bus"\n'
    write(tmp_path / "csv" / "class_labels_indices.csv", names)
    put("-0RWZT-miFs.mp4")
    put("train/bbbbbbbbbbb_000000_000010.mp4")
    put("train/ccccccccccc_30000.mp4")
    put("eval/ddddddddddd_2500.mp4")
    manifest = index(tmp_path, "audioset")
    assert rows(manifest) == [
        ("-0RWZT-miFs_420000", "-0RWZT-miFs.mp4", "Keys jangling", "train"),
        ("bbbbbbbbbbb_0", "train/bbbbbbbbbbb_000000_000010.mp4", "Speech", "train"),
        ("ccccccccccc_30000", "train/ccccccccccc_30000.mp4", "/m/unknown", "train"),
        ("ddddddddddd_2500", "eval/ddddddddddd_2500.mp4", "Speech", "test"),
    ]
    assert manifest.column("labels")[0] == "/m/03v3yw,/m/0k4j"
    assert manifest.column("part") == ["balanced_train"] * 3 + ["eval"] and not manifest.unusable


def test_vggsound(tmp_path, put):
    text = '---g-f_I2yQ,1,people marching,test\n-0jeONf82dE,21,"bird chirping, tweeting",train\nx,3,rain,train\n'
    write(tmp_path / "vggsound.csv", text)
    put("video/---g-f_I2yQ_000001.mp4")
    put("video/-0jeONf82dE_000021_000031.mp4")
    put("video/x_000003.mp4", "silent")
    manifest = index(tmp_path, "vggsound")
    assert rows(manifest) == [
        ("---g-f_I2yQ_000001", "video/---g-f_I2yQ_000001.mp4", "people marching", "test"),
        ("-0jeONf82dE_000021", "video/-0jeONf82dE_000021_000031.mp4", "bird chirping, tweeting", "train"),
    ]
    assert left_out(manifest) == {"video/x_000003.mp4": "silent"}


def test_ucf101_and_its_folds(tmp_path, put):
    first, second = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", "YoYo/v_YoYo_g08_c01.avi"
    lists = tmp_path / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 ApplyEyeMakeup\n101 YoYo\n")
    write(lists / "trainlist01.txt", f"{second} 101\r\n")
    write(lists / "testlist01.txt", f"{first}\r\netc/passwd.avi\r\n")
    write(lists / "trainlist02.txt", f"{first} 1\n")
    write(lists / "testlist02.txt", f"{second}\n")
    put(f"UCF-101/{first}", "mute")  # an mp4 in fact: what a file is called does not matter
    put(f"UCF-101/{second}")
    manifest = index(tmp_path, "ucf101")
    assert rows(manifest) == [
        (first, f"UCF-101/{first}", "ApplyEyeMakeup", "test"),
        (second, f"UCF-101/{second}", "YoYo", "train"),
    ]
    assert manifest.column("split2") == ["train", "test"]
    assert left_out(manifest) == {"etc/passwd.avi": "missing"}
    assert index(tmp_path, "ucf101", fold=2).column("split") == ["train", "test"]
    with pytest.raises(ValueError, match="contains no list of fold 3 of ucf101"):
        index(tmp_path, "ucf101", fold=3)
    with pytest.raises(ValueError, match="fold must be from 1 to 3 for ucf101; got 4"):
        index(tmp_path, "ucf101", fold=4)


def test_hmdb51(tmp_path, put):
    names = [f"#20060723sfjffbartsinger_wave_f_cm_np1_ba_med_{i}.avi" for i in range(3)]
    lists = tmp_path / "testTrainMulti_7030_splits"
    write(lists / "wave_test_split1.txt", "".join(f"{name} {use} \n" for name, use in zip(names, "012", strict=True)))
    write(lists / "wave_test_split2.txt", "".join(f"{name} {use} \n" for name, use in zip(names, "201", strict=True)))
    write(lists / "hit_test_split1.txt", f"{names[0]} 1 \n")  # the same name in another class is another file
    for name in names:
        put(f"wave/{name}", "mute")
    put(f"hit/{names[0]}", "mute")
    manifest = index(tmp_path, "hmdb51")
    assert [(r.label, r.split) for r in manifest.records] == [
        ("hit", "train"),
        ("wave", ""),
        ("wave", "train"),
        ("wave", "test"),
    ]
    assert manifest.records[1].id == f"wave/{names[0]}" and not manifest.unusable
    assert index(tmp_path, "hmdb51", fold=2).column("split") == ["", "test", "", "train"]


def test_ave_has_one_clip_for_a_video(tmp_path, put):
    header = "Category&VideoID&Quality&StartTime&EndTime\n"
    speech = "Male speech, man speaking"
    bell, two, split = f"Church bell&{IDS[0]}&good&0&10\n", f"Bark&{IDS[1]}&good&7&9\n", f"{speech}&{IDS[2]}&good&0&5\n"
    again, other = f"{speech}&{IDS[1]}&good&0&2\n", f"Clock&{IDS[2]}&good&0&5\n"
    write(tmp_path / "Annotations.txt", header + bell + two + split + again + other + f"Goat&{'g' * 11}&good&1&2\n")
    write(tmp_path / "trainSet.txt", bell + split + f"Goat&{'g' * 11}&good&1&2\n")
    write(tmp_path / "valSet.txt", two + again)
    write(tmp_path / "testSet.txt", other + "no event\n")
    for name in IDS:
        put(f"AVE/{name}.mp4")
    manifest = index(tmp_path, "ave")
    assert rows(manifest) == [
        (IDS[0], f"AVE/{IDS[0]}.mp4", "Church bell", "train"),
        (IDS[2], f"AVE/{IDS[2]}.mp4", "Clock", "test"),
        (IDS[1], f"AVE/{IDS[1]}.mp4", "Bark", "val"),
    ]
    assert manifest.column("labels") == ["Church bell", f"{speech};Clock", f"Bark;{speech}"]
    assert manifest.column("events") == ["0-10", "0-5;0-5", "7-9;0-2"]
    assert left_out(manifest) == {
        "ggggggggggg": "missing",
        IDS[2]: "in two splits",
        "testSet.txt, line 2": "bad line",
    }
    for name in ("trainSet.txt", "valSet.txt", "testSet.txt"):
        (tmp_path / name).unlink()
    assert index(tmp_path, "ave").column("split") == ["", "", ""]  # the annotations alone know no splits


def test_esc50_has_sound_only(tmp_path, put, monkeypatch):
    text = (
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
        "2-100038-A-14.wav,2,14,chirping_birds,False,100038,A\n"
    )
    write(tmp_path / "ESC" / "meta" / "esc50.csv", text)
    put("ESC/audio/1-100032-A-0.wav", "sound")
    put("ESC/audio/2-100038-A-14.wav", "sound")
    manifest = index(tmp_path, "esc50", fold=2)
    assert rows(manifest) == [
        ("1-100032-A-0.wav", "ESC/audio/1-100032-A-0.wav", "dog", "train"),
        ("2-100038-A-14.wav", "ESC/audio/2-100038-A-14.wav", "chirping_birds", "test"),
    ]
    assert manifest.column("fold") == ["1", "2"]
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    settings = {"video": VideoSpec(4, 8.0, 32), "audio": AudioSpec(8000, 0.5, 10, 64), "streams": "audio"}
    for cache in (True, False):
        clips = ClipDataset(manifest, **settings, cache=cache, progress=False)
        batch = clips.batch(torch.tensor([1, 0]), torch.Generator().manual_seed(0))
        assert sorted(batch) == ["audio", "index", "label"] and batch["audio"].shape == (2, 1, 4000)
        assert batch["audio"].abs().max() > 0.4 and batch["label"].tolist() == [0, 1]
        assert sorted(clips[0]) == ["audio", "index", "label"]
        assert clips.windows(torch.tensor([0]), 3)["audio"].shape == (3, 1, 4000)


def test_videos_without_sound_are_read_for_what_is_seen(tmp_path, put, monkeypatch, unchecked):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    put("a/mute.mp4", "mute")
    put("a/video.mp4")
    (tmp_path / "wave_test_split1.txt").write_text("mute.avi 1\nvideo.avi 2\n")
    (tmp_path / "a").rename(tmp_path / "wave")
    manifest = index(tmp_path, "hmdb51")
    settings = {"video": VideoSpec(4, 8.0, 16), "audio": AudioSpec(8000, 0.5, 10, 64), "progress": False}
    clips = ClipDataset(manifest, **settings, streams="video")
    generator = torch.Generator().manual_seed(0)
    assert sorted(clips.batch(torch.tensor([0, 1]), generator)) == ["index", "label", "video"]
    direct = ClipDataset(manifest, **settings, streams="video", cache=False)
    cached, read = (dataset.windows(torch.tensor([0, 1]), 2)["video"] for dataset in (clips, direct))
    assert torch.equal(cached, read)
    with pytest.raises(ValueError, match="mute.mp4: has no audio stream"):
        ClipDataset(manifest, **settings)
    with pytest.raises(ValueError, match="streams must be 'both', 'video' or 'audio'; got 'sound'"):
        ClipDataset(manifest, **settings, streams="sound")


BAD_LISTS = [
    ("kinetics400", "train.csv", KINETICS_HEADER + "a,b,1,11\n", "line 2: a line must have 5 fields"),
    (
        "kinetics400",
        "train.csv",
        KINETICS_HEADER + "a,b,soon,11,train\n",
        "must give times as seconds; got 'a,b,soon,11,train'",
    ),
    ("audioset", "eval_segments.csv", "a, 1, 2\n", "line 1: a line must be YTID, start_seconds"),
    ("vggsound", "vggsound.csv", "a,1,rain,dev\n", "must be id,start,label,train or test; got 'a,1,rain,dev'"),
    ("ucf101", "trainlist01.txt", "v_YoYo.avi 1\n", 'line 1: a line must be "Class/video.avi"'),
    ("hmdb51", "wave_test_split1.txt", "a.avi 3\n", "and 0, 1 or 2; got 'a.avi 3'"),
    ("ave", "trainSet.txt", "Bark&a&good&1\n", "line 1: a line must be class&video id&quality&start&end"),
    ("esc50", "esc50.csv", "name,fold\n", "line 1: a line must name filename, fold and category"),
]


@pytest.mark.parametrize(("layout", "name", "text", "message"), BAD_LISTS)
def test_a_list_that_is_not_the_sets_own_is_named_with_its_line(tmp_path, layout, name, text, message):
    write(tmp_path / name, text)
    with pytest.raises(ValueError, match=message) as caught:
        index(tmp_path, layout)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"folder"}))
def test_a_layout_without_its_lists_says_which(tmp_path, layout, put):
    put("a/b.mp4")
    with pytest.raises(ValueError, match=rf"{layout} needs the dataset's own lists .* or use --layout folder"):
        index(tmp_path, layout)


def test_binary_lists_and_unknown_layouts(tmp_path):
    (tmp_path / "vggsound.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"vggsound.csv: it is not UTF-8 text"):
        index(tmp_path, "vggsound")
    with pytest.raises(ValueError, match="layout must be one of folder, kinetics400, .*; got 'imagenet'"):
        index(tmp_path, "imagenet")


# ---- lists and folders as they really are


@pytest.mark.parametrize(
    "name",
    [
        "{id}_000030_000040",
        "{id}_30_40",
        "{id}_30",
        "{id}-30-40",
        "{id}_30000_40000",
        "{id}_30000",
        "{id}_30.000_40.000",
        "{id}_30.000",
        "{id}_30_10",
        "{id}",
        "Y{id}",
        "Y{id}_30000",
        "v_{id}",
        "A title, with 2 numbers [{id}]",
        "A title-{id}",
    ],
)
@pytest.mark.parametrize("layout", ["kinetics400", "audioset", "vggsound"])
def test_the_names_of_common_downloads_are_found(tmp_path, layout, name):
    lists = {
        "kinetics400": ("train.csv", KINETICS_HEADER + "".join(f"rain,{i},30,40,train\n" for i in IDS)),
        "audioset": ("eval_segments.csv", AUDIOSET_HEADER + "".join(f'{i}, 30.000, 40.000, "/m/rain"\n' for i in IDS)),
        "vggsound": ("vggsound.csv", "".join(f"{i},30,rain,test\n" for i in IDS)),
    }
    write(tmp_path / lists[layout][0], lists[layout][1])
    files = [f"{name.format(id=i)}.mp4" for i in IDS]
    found = layouts.candidates(tmp_path, layout, 1, files, [lists[layout][0]])
    assert [(item.id[:11], getattr(item, "path", item)) for item in found] == list(zip(IDS, files, strict=True))


def test_times_tell_the_clips_of_one_video_apart(tmp_path):
    write(tmp_path / "vggsound.csv", "aaaaaaaaaaa,1,rain,test\naaaaaaaaaaa,1000,rain,test\naaaaaaaaaaa,7,rain,test\n")
    files = ["aaaaaaaaaaa_1000.mp4", "aaaaaaaaaaa_1.mp4", "aaaaaaaaaaa.mp4"]
    found = layouts.candidates(tmp_path, "vggsound", 1, files, ["vggsound.csv"])
    assert [(item.path, item.reason) for item in found if not isinstance(item, Candidate)] == [
        ("aaaaaaaaaaa_000007", "missing"),  # the file without a time may be any of the three
        ("aaaaaaaaaaa.mp4", "not listed"),
    ]
    assert {item.id: item.path for item in found if isinstance(item, Candidate)} == {
        "aaaaaaaaaaa_000001": "aaaaaaaaaaa_1.mp4",
        "aaaaaaaaaaa_001000": "aaaaaaaaaaa_1000.mp4",
    }


LISTS = {
    "semicolons": "label;youtube_id;time_start;time_end;split\nrain;aaaaaaaaaaa;30;40;train\n",
    "tabs": "label\tyoutube_id\ttime_start\ttime_end\tsplit\nrain\taaaaaaaaaaa\t30\t40\ttrain\n",
    "a byte order mark": "\ufefflabel,youtube_id,time_start,time_end,split\r\nrain,aaaaaaaaaaa,30,40,train\r\n",
    "other columns": "ytid,start_seconds,end_seconds,class,subset,more\naaaaaaaaaaa,30.0,40.0,rain,Training,x\n",
    "capitals and spaces": '"Label","YouTube ID","Time Start","Time End"\n"rain","aaaaaaaaaaa","30","40"\n',
    "a decimal comma": "label;youtube_id;time_start;time_end;split\nrain;aaaaaaaaaaa;30,0;40,0;train\n",
    "clock times": "label,youtube_id,time_start,time_end,split\nrain,aaaaaaaaaaa,0:30,0:00:40,train\n",
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lists_that_went_through_other_hands_are_read(tmp_path, kind, encoding):
    (tmp_path / "train.CSV").write_bytes(LISTS[kind].encode(encoding))
    (found,) = layouts.candidates(tmp_path, "kinetics400", 1, ["aaaaaaaaaaa_000030_000040.mp4"], ["train.CSV"])
    assert (found.id, found.label, found.split) == ("aaaaaaaaaaa_000030_000040", "rain", "train")


def test_letter_case_and_backslashes_are_forgiven(tmp_path):
    write(tmp_path / "TrainList01.txt", "HandstandPushups\\v_HandStandPushups_g01_c01.avi\t37\n")
    files = ["UCF-101/HandstandPushups/v_HandstandPushups_g01_c01.AVI"]
    (found,) = layouts.candidates(tmp_path, "ucf101", 1, files, ["TrainList01.txt"])
    assert (found.path, found.split) == (files[0], "train")


def test_bad_lines_are_counted_and_the_good_ones_kept(tmp_path, put):
    bad = "#NAME?,1,rain,test\n1.2E+10,1,rain,test\nx,soon,rain,test\ny,1,rain\n"
    write(
        tmp_path / "lists" / "vggsound.csv",
        "YouTube ID,start seconds,label,train/test split\n" + bad + "a,1,rain,test\n",
    )
    write(tmp_path / "vggsound_more.csv", "")
    put("a_000001.mp4")
    manifest = index(tmp_path, "vggsound")
    assert manifest.column("id") == ["a_000001"]
    assert left_out(manifest) == {f"lists/vggsound.csv, line {n}": "bad line" for n in (2, 3, 4, 5)}
    assert "spreadsheets replace ids" in manifest.unusable[0].detail


def test_what_was_looked_for_is_shown_next_to_the_nearest_file(tmp_path, put):
    write(tmp_path / "vggsound.csv", "aaaaaaaaaaa,7,rain,test\nbbbbbbbbbbb,7,rain,test\n")
    put("aaaaaaaaaaa_000009.mp4")
    with pytest.raises(ValueError, match="no usable video") as caught:
        folder.index_folder(tmp_path, layout="vggsound", out=tmp_path / "manifest.csv", workers=0, progress=False)
    assert "no file is called aaaaaaaaaaa_000007.* or by this id" in str(caught.value)
    assert "the nearest is aaaaaaaaaaa_000009.mp4" in str(caught.value)
    assert str(tmp_path / "manifest.unusable.csv") in str(caught.value)
    with (tmp_path / "manifest.unusable.csv").open(newline="") as file:
        told = {row["path"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}
    assert [reason for reason, _ in told.values()] == ["missing", "not listed", "missing"]
    assert "most files are named like <id>_<6 digits>" in told["bbbbbbbbbbb_000007"][1]
    assert not (tmp_path / "manifest.csv").exists()


def test_a_file_that_is_no_list_is_named(tmp_path, put):
    put("a_000001_000011.mp4")
    write(tmp_path / "prices.csv", "a,b\n1,2\n")
    (tmp_path / "binary.csv").write_bytes(b"\x80\x81")
    with pytest.raises(ValueError, match=r"none of the lists") as caught:
        index(tmp_path, "kinetics400")
    assert "prices.csv: a list has the columns label,youtube_id" in str(caught.value)
    assert "binary.csv: it is not UTF-8 text" in str(caught.value)
    write(tmp_path / "train.csv", KINETICS_HEADER + "rain,a,1,11,train\n")
    assert left_out(index(tmp_path, "kinetics400")) == {"binary.csv": "not a list", "prices.csv": "not a list"}


# ---- links, and files that are not ours


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_class_folders_that_are_links_are_followed_once(tmp_path, put):
    put("elsewhere/dogs/1.mp4")
    put("elsewhere/dogs/deep/2.mp4")
    put("set/cats/3.mp4")
    (tmp_path / "set" / "dogs").symlink_to(tmp_path / "elsewhere" / "dogs")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set" / "cats")
    (tmp_path / "set" / "cats" / "circle").symlink_to(tmp_path / "set")
    (tmp_path / "elsewhere" / "dogs" / "back").symlink_to(tmp_path / "elsewhere" / "dogs")
    (tmp_path / "set" / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "set" / "pipe.mp4")
    manifest = index(tmp_path / "set", "folder")
    assert manifest.column("path") == ["cats/3.mp4", "dogs/1.mp4", "dogs/deep/2.mp4"]
    assert left_out(manifest) == {
        "again": "link",
        "cats/circle": "link",
        "dogs/back": "link",
        "gone": "no video file",
        "pipe.mp4": "no file",
    }


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.unusable.csv"])
def test_a_list_of_somebody_else_is_never_replaced(tmp_path, put, capsys, name):
    put("dogs/1.mp4")
    put("dogs/short.mp4", "short")
    (tmp_path / name).write_text("my,own,list\n")
    assert cli.main(["data", "index", str(tmp_path), "--workers", "0"]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / name) in error and "--out" in error and "examining" not in error
    assert (tmp_path / name).read_text() == "my,own,list\n"
    assert cli.main(["data", "index", str(tmp_path), "--workers", "0", "--out", str(tmp_path / "m.csv")]) == 0


def test_what_killed_runs_left_is_no_part_of_the_folder(tmp_path, put):
    put("dogs/1.mp4")
    (tmp_path / ".manifest.csv.123.part").write_text("half")
    manifest = folder.index_folder(tmp_path, out=tmp_path / "manifest.csv", workers=0, progress=False)
    assert not manifest.unusable


def test_a_file_on_which_the_decoder_fails_is_counted(tmp_path, put, monkeypatch):
    put("dogs/1.mp4")
    put("dogs/2.mp4")
    read = probing.read_images

    def fail(source, *rest):
        if source.path.name == "1.mp4":
            raise TypeError("stream 7")
        return read(source, *rest)

    monkeypatch.setattr(probing, "read_images", fail)
    manifest = index(tmp_path, "folder")
    assert manifest.column("path") == ["dogs/2.mp4"]
    assert [(u.path, u.reason) for u in manifest.unusable] == [("dogs/1.mp4", "unreadable")]
    assert "TypeError: stream 7" in manifest.report()


# ---- names, resuming, the command

ODD = ["a b", "-rf", "--help", "quo\"te's", "comma, semi;", "naïve 猫 🎻", "100%", "#1?", "new\nline", "file:x"]
ODD = [f"{name}.mp4" for name in [*ODD, "http:.", "back\\slash", "=1+1", "%03d", "*"]] + ["UPPER.MP4"]


@pytest.mark.skipif(os.name != "posix", reason="names that only POSIX allows")
def test_names_of_every_kind_survive(tmp_path, put):
    for name in ODD:
        put(f'-class "of" l\'été/{name}')
    put("C:.mp4")
    os.link(tmp_path / "C:.mp4", os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    manifest = index(tmp_path, "folder")
    assert sorted(Path(path).name for path in manifest.column("path")) == sorted(ODD)
    assert manifest.classes == ('-class "of" l\'été',)
    assert left_out(manifest) == {"C:.mp4": "unportable name", r"caf\xe9.mp4": "unportable name"}
    back = Manifest.read(manifest.write(tmp_path / "manifest.csv"))
    assert back.records == manifest.records
    clips = ClipDataset(back, video=VideoSpec(2, 8.0, 16), audio=AudioSpec(8000, 0.5, 10, 64), cache=False)
    assert clips.batch(torch.arange(len(ODD)))["video"].shape[0] == len(ODD)


def test_the_command_writes_the_manifest_and_what_was_left_out(tmp_path, put, capsys):
    for i in range(3):
        put(f"-dogs/{i}.mp4")
    put("-dogs/short.mp4", "short")
    put("-dogs/silent.mp4", "silent")
    command = ["data", "index", str(tmp_path), "--workers", "0"]
    assert cli.main(command) == 0
    shown = capsys.readouterr()
    assert "3 clips of 1 class:" in shown.out and str(tmp_path / "manifest.csv") in shown.out
    assert "2 files left out" in shown.out and "too short: -dogs/short.mp4" in shown.out
    assert "examining videos" in shown.err
    assert len(Manifest.read(tmp_path / "manifest.csv")) == 3
    with (tmp_path / "manifest.unusable.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert [(row["path"], row["reason"]) for row in told] == [
        ("-dogs/short.mp4", "too short"),
        ("-dogs/silent.mp4", "silent"),
    ]
    before = (tmp_path / "manifest.csv").read_bytes()
    (tmp_path / "-dogs" / "short.mp4").unlink()
    (tmp_path / "-dogs" / "silent.mp4").unlink()
    assert cli.main(command) == 0
    assert (tmp_path / "manifest.csv").read_bytes() == before  # what we wrote is no part of the folder
    assert not (tmp_path / "manifest.unusable.csv").exists()


def test_a_manifest_that_could_not_be_written_is_refused_at_once(tmp_path, put, capsys):
    put("videos/dogs/1.mp4")
    assert cli.main(["data", "index", str(tmp_path / "videos"), "--out", str(tmp_path / "lists" / "m.csv")]) == 2
    error = capsys.readouterr().err
    assert "paths in a manifest stay inside its folder" in error and "examining" not in error
    assert not (tmp_path / "lists").exists()
    assert cli.main(["data", "index", str(tmp_path / "videos"), "--out", str(tmp_path / "m.csv")]) == 0
    assert Manifest.read(tmp_path / "m.csv").column("path") == ["videos/dogs/1.mp4"]


def test_an_interrupted_index_goes_on_and_a_later_one_looks_at_what_changed(tmp_path, put, monkeypatch):
    for i in range(6):
        put(f"dogs/{i}.mp4")
    probe, looked = folder.probe_file, []

    def stopped(task):
        if len(looked) == 3:
            raise KeyboardInterrupt
        looked.append(task.path.name)
        return probe(task)

    settings = {"out": tmp_path / "manifest.csv", "workers": 0, "progress": False}
    monkeypatch.setattr(folder, "probe_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        folder.index_folder(tmp_path, **settings)
    assert not settings["out"].exists()
    seen = tmp_path / ".manifest.csv.seen"
    seen.write_text(seen.read_text()[:-20])  # as if the last line had been cut short
    monkeypatch.setattr(folder, "probe_file", lambda task: looked.append(task.path.name) or probe(task))
    manifest = folder.index_folder(tmp_path, **settings)
    assert looked == ["0.mp4", "1.mp4", "2.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4"] and len(manifest) == 6
    looked.clear()
    put("dogs/2.mp4", "silent")
    put("dogs/6.mp4")
    manifest = folder.index_folder(tmp_path, **settings)
    assert looked == ["2.mp4", "6.mp4"] and len(manifest) == 6 and left_out(manifest) == {"dogs/2.mp4": "silent"}


def test_several_processes_find_the_same(tmp_path, put):
    for i in range(5):
        put(f"dogs/{i}.mp4", "silent" if i == 3 else "video")
    alone, together = (index_folder(tmp_path, workers=n, progress=False) for n in (0, 2))
    assert together.records == alone.records and together.unusable == alone.unusable
