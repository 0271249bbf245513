"""ms-swift: --external_plugins examples/trainers/swift_plugin.py --reward_funcs vl_reward

swift hands the conversation over as `messages` (its last turn is the user's) and pictures as `images`, {"bytes", "path"} each. All rows go out in
one request; a row that could not be scored raises, for swift has no word for a missing reward.
"""

import base64
import json
import os
import urllib.request

try:
    from swift.rewards import ORM, orms
except ImportError:  # swift before 4
    from swift.plugin import ORM, orms

SERVER = os.environ.get("VL_REWARD_SERVER", "http://127.0.0.1:8000")
HEADERS = {"content-type": "application/json", "authorization": "Bearer " + os.environ.get("VL_REWARD_KEY", "")}


def picture(image):
    if isinstance(image, str):
        image = {"path": image}
    data = image.get("bytes")
    if not data:
        with open(image["path"], "rb") as file:
            data = file.read()
    return "data:image/*;base64," + base64.b64encode(data).decode()


class VlReward(ORM):
    def __call__(self, completions, messages, images=None, **kwargs):
        images = images or [None] * len(completions)
        items = [
            {"messages": turns[:-1] if turns[-1]["role"] == "assistant" else turns, "responses": [completion]}
            | ({"images": [picture(image) for image in row]} if row else {})
            for completion, turns, row in zip(completions, messages, images)
        ]
        request = urllib.request.Request(SERVER + "/v1/rewards", json.dumps({"items": items}).encode(), HEADERS)
        with urllib.request.urlopen(request) as response:
            results = json.load(response)["data"]
        failed = [result["error"]["message"] for result in results if "error" in result]
        if failed:
            raise RuntimeError(failed[0])
        return [result["scores"][0] for result in results]


orms["vl_reward"] = VlReward
