"""`mlseg bundle`: a run's teacher in a folder that others can use without the run, and without mlseg.

make  all files of the folder, put in place once they are whole
onnx_file  the network as ONNX, checked with onnxruntime
card  README.md: what it learnt from, how good it is, its limits
standalone  predict.py of the bundle, which needs onnxruntime, NumPy, Pillow and OpenSlide only
"""
