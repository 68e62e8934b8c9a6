# The course in a container:
#   docker build -t avid_lab .
#   docker run -p 8888:8888 -v avid_lab:/home/student avid_lab
# Without an NVIDIA GPU, PyTorch's CPU build saves 5 GB: add --build-arg PIP_EXTRA_INDEX_URL=... with the index that
# PyTorch's page names for CPU.
FROM python:3.11-slim-bookworm

ARG PIP_EXTRA_INDEX_URL=""
RUN useradd --create-home --uid 1000 student

WORKDIR /opt/avid_lab
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt .

USER student
WORKDIR /home/student
EXPOSE 8888
CMD ["avid-lab", "lab", "--no-browser", "--ip=0.0.0.0", "--port=8888"]
