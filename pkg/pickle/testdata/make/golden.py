# Writes the files of this directory with torch (2.6 here); run it in testdata. Value i of a tensor is i/2 - 3, so that the test knows them.
from collections import OrderedDict

import torch


def values(dtype, *shape):
    n = 1
    for s in shape:
        n *= s
    v = torch.arange(n, dtype=torch.float64) / 2 - 3
    if dtype in (torch.uint8, torch.bool):
        v = v.abs()
    return v.to(dtype).reshape(shape)


one = values(torch.float32, 4, 6)
state = OrderedDict(
    f32=values(torch.float32, 3, 5), f16=values(torch.float16, 7), bf16=values(torch.bfloat16, 2, 3, 2), f64=values(torch.float64, 3),
    i64=values(torch.int64, 5), i32=values(torch.int32, 5), i16=values(torch.int16, 5), i8=values(torch.int8, 5), u8=values(torch.uint8, 5),
    bool=values(torch.bool, 5), scalar=values(torch.float32), empty=values(torch.float32, 0, 4), whole=one, rows=one[1:3], columns=one[:, 2:4],
    turned=one.t(), param=torch.nn.Parameter(values(torch.float32, 2, 2)), count=12, name="x", inner={"a": [1, 2.5, (None, True)]},
)
torch.save(state, "zip.pth")
torch.save(state, "legacy.pth", _use_new_zipfile_serialization=False)
torch.save(dict(state, f8=values(torch.float8_e4m3fn, 6), u16=values(torch.int16, 4).abs().to(torch.uint16)), "protocol4.pth", pickle_protocol=4)
torch.save(torch.nn.Linear(3, 2).state_dict(), "module.bin")
torch.save({"model": state, "step": 3}, "nested.pth")
torch.save(torch.nn.Linear(3, 2), "object.pth")
torch.save([one], "list.pth")
