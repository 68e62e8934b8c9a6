// Records a few seconds of camera and microphone. The page asks for permission; nothing is kept in it.

const KINDS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"]

function render({model, el}) {
    const root = document.createElement("div"), button = document.createElement("button")
    const view = document.createElement("video"), said = document.createElement("span")
    root.className = "avid-recorder"
    button.type = "button"
    button.className = "lm-Widget jupyter-widgets jupyter-button widget-button"
    const idle = `● record ${model.get("seconds")} s`
    button.textContent = idle
    button.title = "Ask with what your camera and microphone catch; it goes to this kernel and nowhere else"
    view.muted = view.autoplay = view.playsInline = true
    view.hidden = true
    said.setAttribute("role", "status")
    root.append(button, view, said)
    el.append(root)
    let stream = null

    function rest() {
        stream?.getTracks().forEach(track => track.stop())
        stream = view.srcObject = null
        view.hidden = true
        button.disabled = false
        button.textContent = idle
    }

    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
        button.disabled = true
        said.textContent = "No recording here: it needs https or localhost, and a browser with a camera. Upload works."
    }

    async function record() {
        button.disabled = true
        said.textContent = ""
        try {
            stream = await navigator.mediaDevices.getUserMedia({video: {width: 320, height: 240}, audio: true})
        } catch (problem) {
            rest()
            said.textContent = `No recording: ${problem.name === "NotFoundError" ? "no camera or microphone was found"
                : problem.name === "NotAllowedError" ? "the browser was not allowed to" : problem.message}. Upload works.`
            return
        }
        view.srcObject = stream
        view.hidden = false
        const type = KINDS.find(kind => MediaRecorder.isTypeSupported(kind)), parts = []
        const recorder = new MediaRecorder(stream, {mimeType: type, videoBitsPerSecond: 600000})
        recorder.addEventListener("dataavailable", event => parts.push(event.data))
        recorder.addEventListener("stop", async () => {
            rest()
            model.send({recorded: type}, undefined, [await new Blob(parts, {type}).arrayBuffer()])
        })
        recorder.start()
        for (let left = Math.ceil(model.get("seconds")); left > 0; left--)
            setTimeout(() => { button.textContent = `● recording, ${left} s` }, 1000 * (model.get("seconds") - left))
        setTimeout(() => recorder.state === "inactive" || recorder.stop(), 1000 * model.get("seconds"))
    }

    button.addEventListener("click", record)
    return rest
}

export default {render}
